"""Settings of all tests."""

import os
from pathlib import Path

from hypothesis import settings

# Machine code of earlier runs is used again, and stays within the project.
os.environ.setdefault("PINT_CACHE", str(Path(__file__).parents[1] / "build" / "compiled"))

# The same examples in every run, nothing kept between runs, and no time limit an example: a
# machine that is busy with other ranks is no failure.
settings.register_profile("pint", deadline=None, derandomize=True, database=None)
settings.load_profile("pint")
