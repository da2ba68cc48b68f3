"""Gauss-Newton: states and controls together, by linear-quadratic problems in time-parallel."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from pint.controls import Control, Tikhonov
from pint.errors import NotFiniteError, check_choice, integer, number
from pint.grid import TimeGrid
from pint.interface import Problem
from pint.optimise.checkpoint import Checkpoint
from pint.optimise.ending import Ending, Limited
from pint.optimise.gauss_newton.iteration import Iteration
from pint.optimise.gauss_newton.shooting import Shooting
from pint.optimise.method import Callback
from pint.optimise.point import Candidate, Point
from pint.optimise.recorder import Recorder
from pint.optimise.reduced_space import ReducedSpace
from pint.optimise.result import Iterate, Result, Status
from pint.optimise.safeguard import move_to_best
from pint.reduced_functional import ReducedFunctional

logger = logging.getLogger(__name__)
