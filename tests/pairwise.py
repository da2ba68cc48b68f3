"""Combinations of options in which every two values occur together, instead of all of them."""

from itertools import combinations, product


def pairwise(*options):
    """Return few tuples of one value of each option: every two values of two options meet.

    Each tuple is the one, of all that are left, in which most pairs meet for the first time.
    """
    numbers = [range(len(values)) for values in options]
    left = list(product(*numbers))
    pairs = lambda choice: set(combinations(enumerate(choice), 2))  # noqa: E731
    missing, chosen = set().union(*map(pairs, left)), []
    while missing:
        best = max(left, key=lambda choice: len(pairs(choice) & missing))
        missing -= pairs(best)
        left.remove(best)
        chosen.append(tuple(values[i] for values, i in zip(options, best, strict=True)))
    return chosen
