"""Indian Pines: the spectra of the pixels of a field scene, 16 classes, in MATLAB files.

A cube of (rows, columns, bands) radiances comes with a map of (rows, columns) classes, 0 where
there is no ground truth: 145 x 145 pixels, of which 10249 have a class; 220 bands, or 200 without
the bands that water vapour absorbs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from problems.data import matlab
from problems.data.dataset import Content, check_finite

CLASSES = (
    "alfalfa",
    "corn-notill",
    "corn-mintill",
    "corn",
    "grass-pasture",
    "grass-trees",
    "grass-pasture-mowed",
    "hay-windrowed",
    "oats",
    "soybean-notill",
    "soybean-mintill",
    "soybean-clean",
    "wheat",
    "woods",
    "buildings-grass-trees-drives",
    "stone-steel-towers",
)
CUBES = {
    "Indian_pines_corrected.mat": "indian_pines_corrected",
    "Indian_pines.mat": "indian_pines",
}
GROUND_TRUTH, GROUND_TRUTH_VARIABLE = "Indian_pines_gt.mat", "indian_pines_gt"


def read_folder(folder: str | Path) -> Content:
    """Return the pixels that have a class, x of shape (B, bands), without a test part.

    Parameters
    ----------
    folder : str or Path
        Holds ``Indian_pines_gt.mat`` and ``Indian_pines_corrected.mat`` or, if that is not there,
        ``Indian_pines.mat``.

    Raises
    ------
    ValueError
        If a file is missing or broken, lacks its variable, or the files do not fit together.
    """
    folder = Path(folder)
    found = [name for name in CUBES if (folder / name).is_file()]
    if not found:
        raise ValueError(f"{folder} has no {' or '.join(CUBES)}; expected one of them there.")
    cube_file, classes_file = folder / found[0], folder / GROUND_TRUTH
    cube = matlab.read(cube_file, CUBES[found[0]], 3)
    classes = matlab.read(classes_file, GROUND_TRUTH_VARIABLE, 2)
    check_finite(cube, f"{cube_file}: {CUBES[found[0]]}")
    if cube.shape[:2] != classes.shape:
        raise ValueError(
            f"{cube_file} has {cube.shape[0]} x {cube.shape[1]} pixels, but {classes_file} has "
            f"{classes.shape[0]} x {classes.shape[1]}; expected two files of one scene."
        )
    bad = classes[~np.isin(classes, np.arange(len(CLASSES) + 1))]
    if bad.size:
        raise ValueError(
            f"{classes_file} has the class {bad[0]:g}; expected 0 (none) to {len(CLASSES)}."
        )
    labelled = classes > 0
    if not labelled.any():
        raise ValueError(f"{classes_file} has no pixel of a class; expected 1 to {len(CLASSES)}.")
    if (classes[labelled] == classes.max()).all():
        raise ValueError(f"{classes_file} has pixels of one class only; expected two or more.")
    return Content(str(folder), cube[labelled], classes[labelled].astype(int) - 1, CLASSES)
