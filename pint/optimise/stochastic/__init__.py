"""Updates from batches of the examples: SGD and Adam."""

from pint.optimise.stochastic import schedules
from pint.optimise.stochastic.bias import BiasControl
from pint.optimise.stochastic.method import Stochastic
from pint.optimise.stochastic.rules import adam, sgd

__all__ = ["BiasControl", "Stochastic", "adam", "schedules", "sgd"]
