"""Results as files to look at: ParaView's .vtu, .pvtu and .pvd, and tables for one dimension.

`pint.Result.write_vtk`, `write_npz` and `write_csv` write them; here are the meshes that ParaView
needs to know.
"""

from pint.io.meshes import Mesh, dmda, grid, scikit_fem
from pint.io.tables import write_csv, write_npz
from pint.io.vtk import Series, write_series

__all__ = [
    "Mesh",
    "Series",
    "dmda",
    "grid",
    "scikit_fem",
    "write_csv",
    "write_npz",
    "write_series",
]
