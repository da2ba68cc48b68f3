"""The digits of scikit-learn: 1797 images of 8 x 8 pixels, ten classes; no files are needed."""

from __future__ import annotations

from problems.data.dataset import Content


def read() -> Content:
    """Return the images, pixels 0 to 16, without a test part.

    Raises
    ------
    ValueError
        If scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ValueError(
            f"digits is a data set of scikit-learn, which cannot be imported ({error}); install "
            "it with the extra `data`: pip install 'pint-control[data]'."
        ) from None
    digits = load_digits()
    names = tuple(str(name) for name in digits.target_names)
    return Content("digits", digits.images[:, None], digits.target, names, largest=16.0)
