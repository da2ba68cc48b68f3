"""Why cycles converge slowly, measured, and what to change."""

from pint.diagnosis.diagnose import diagnose
from pint.diagnosis.factors import Factor
from pint.diagnosis.histories import Residuals
from pint.diagnosis.picture import picture
from pint.diagnosis.report import Diagnosis, Recommendation
from pint.diagnosis.setup import Setup
from pint.diagnosis.slow import SlowPart
from pint.diagnosis.trials import Trial

__all__ = [
    "Diagnosis",
    "Factor",
    "Recommendation",
    "Residuals",
    "Setup",
    "SlowPart",
    "Trial",
    "diagnose",
    "picture",
]
