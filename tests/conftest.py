"""Settings of all tests."""

from hypothesis import settings

# The same examples in every run, nothing kept between runs, and no time limit an example: a
# machine that is busy with other ranks is no failure.
settings.register_profile("pint", deadline=None, derandomize=True, database=None)
settings.load_profile("pint")
