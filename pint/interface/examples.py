"""The examples of a cost that is their mean."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np


class Examples(ABC):
    """The examples over which a cost is the mean; the cost takes one batch of them at a time.

    Before the first selection these are the first `batch_size` ones. A functional selects its own
    again where another functional of the problem has selected others.

    Attributes
    ----------
    count : int
        Number of all examples.
    batch_size : int
        Most examples of a batch.
    selected_by : object
        The selection of a functional that is in force: not for users.
    """

    count: int
    batch_size: int
    selected_by: object = None

    @abstractmethod
    def select(self, indices: np.ndarray) -> None:
        """Make the cost the mean over some examples, in place: stepper and objective change.

        Every rank is given the same indices, at least one and at most `batch_size` of them.
        """
