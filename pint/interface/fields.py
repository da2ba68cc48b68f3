"""The values of a control's fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Fields = Mapping[str, Any]
"""Control values, or derivatives with respect to them, by field name."""
