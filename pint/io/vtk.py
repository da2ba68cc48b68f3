"""A series of .vtu files, one for each point in time and each rank in space, and its .pvd file."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np

from pint.comm import agreeing, gather_rows, on_root
from pint.errors import shown
from pint.io.meshes import CELLS, Mesh
from pint.report.files import write_atomically

_TYPES = {"f": "Float64", "i": "Int64", "u": "UInt8"}
_HEADER = '<VTKFile type="{}" version="1.0" byte_order="LittleEndian" header_type="UInt64">\n'


@dataclass(frozen=True)
class Series:
    """Which points in time a rank has.

    Attributes
    ----------
    times : array of shape (N + 1,)
        Of all points.
    first : int
        The number of this rank's first point.
    time, space : communicator
        The ranks in time, and those that share each state.
    """

    times: np.ndarray
    first: int
    time: Any
    space: Any


def write_series(
    folder: str | Path,
    mesh: Mesh,
    series: Series,
    fields: Mapping[str, Sequence[np.ndarray]],
    name: str = "state",
    every: int = 1,
) -> Path:
    """Write values at the points of a mesh over time; return the path of the .pvd file. Collective.

    Files are written under temporary names and renamed; ``name.pvd`` is the last one.

    Parameters
    ----------
    folder : str or Path
        It is made if it is not there.
    mesh : Mesh
    series : Series
    fields : mapping of str to sequence of arrays
        For each of this rank's points in time the values of its own points, shape (own,) or
        (own, k).
    name : str
        Of the series; files are called ``name_00012.vtu``, with ranks in space
        ``name_00012.pvtu`` and ``name_00012_3.vtu``, one for each rank whose part begins cells.
    every : int
        Write points 0, `every`, 2 `every`, ..., and the last one.

    Raises
    ------
    TypeError, ValueError
        If mesh and values do not fit, or an argument is wrong; the same on all ranks.
    OSError
        If a file cannot be written.
    """
    folder, last = Path(folder), len(series.times) - 1
    with agreeing(series.time, "write_vtk", series.space) as ranks:
        ranks.same = {"name": name, "every": every, "fields": list(fields)}
        _check(mesh, series, fields, name, every)
        folder.mkdir(parents=True, exist_ok=True)
    written, size, rank = (
        set(range(0, last + 1, every)) | {last},
        series.space.size,
        series.space.rank,
    )
    digits = max(5, len(str(last)))
    count = max(map(len, fields.values()))
    head, failed = _geometry(mesh), None
    # A part without cells, at the end of the mesh, has nothing that others do not have.
    has_cells = any(map(len, mesh.cells.values()))
    parts = np.flatnonzero([True] if size == 1 else series.space.allgather(has_cells))
    for row in range(count):
        number = series.first + row
        if number not in written:
            continue
        values = {key: _at_points(mesh, series, rows[row]) for key, rows in fields.items()}
        if failed is not None:  # the others gather
            continue
        stem = f"{name}_{number:0{digits}d}"
        try:
            own = stem if size == 1 else f"{stem}_{rank}"
            content = _piece(head, values)
            if rank in parts:
                write_atomically(folder / f"{own}.vtu", lambda file: file.write(content))  # noqa: B023
            if size > 1 and rank == 0:
                index = _parallel(values, [f"{stem}_{i}.vtu" for i in parts])
                write_atomically(folder / f"{stem}.pvtu", lambda file: file.write(index))  # noqa: B023
        except OSError as error:
            failed = error
    with agreeing(series.time, "write_vtk", series.space):
        if failed is not None:
            raise failed
    ending = "vtu" if size == 1 else "pvtu"
    names = {n: f"{name}_{n:0{digits}d}.{ending}" for n in sorted(written)}
    path = folder / f"{name}.pvd"
    collection = _collection({series.times[n]: file for n, file in names.items()})
    if rank == 0:
        on_root(series.time, lambda: write_atomically(path, lambda file: file.write(collection)))
    with agreeing(series.time, "write_vtk", series.space):
        pass  # all ranks may read the file afterwards
    return path


def _check(mesh: Mesh, series: Series, fields: Mapping[str, Any], name: str, every: int) -> None:
    """Raise TypeError or ValueError unless the arguments are right and fit. Not collective."""
    if not isinstance(mesh, Mesh):
        raise TypeError(
            "`write_vtk(mesh)` must be a `pint.io.Mesh`, made by `pint.io.grid`, `dmda` or "
            f"`scikit_fem`, got {shown(mesh)}."
        )
    if not isinstance(name, str) or not name or Path(name).name != name:
        raise ValueError(f"`write_vtk(name=...)` must be a file name, got {shown(name)}.")
    if not isinstance(every, (int, np.integer)) or isinstance(every, bool) or every < 1:
        raise ValueError(f"`write_vtk(every=...)` must be an integer >= 1, got {shown(every)}.")
    if mesh.places is None and series.space.size > 1:
        raise ValueError(
            "`write_vtk(mesh)` needs `places` where states are distributed: make it by "
            "`pint.io.grid(..., space=...)` or `pint.io.dmda`."
        )
    for key, rows in fields.items():
        for values in rows:
            shape = np.shape(values)
            if shape[:1] != (mesh.own,) or len(shape) > 2:
                raise ValueError(
                    f"`write_vtk(mesh)`: values of `{key}` must have the shape ({mesh.own},) or "
                    f"({mesh.own}, k), numbers at the points of the mesh, got {shape}."
                )


def _at_points(mesh: Mesh, series: Series, own: Any) -> np.ndarray:
    """Return the values at all points of a rank's cells. Collective on the ranks in space."""
    values = np.asarray(own, dtype=float)
    whole = values if series.space.size == 1 else gather_rows(series.space, values)
    if mesh.places is not None:
        whole = whole[mesh.places]
    if whole.ndim == 2 and whole.shape[1] == 1:
        whole = whole[:, 0]
    if whole.ndim == 2 and whole.shape[1] == 2:  # ParaView draws vectors of three numbers
        whole = np.pad(whole, [(0, 0), (0, 1)])
    return whole


def _array(values: np.ndarray, **attributes: Any) -> bytes:
    """Return a DataArray element, its content in base64."""
    kind = _TYPES[values.dtype.kind]
    content = np.ascontiguousarray(values, dtype=f"<{values.dtype.kind}{values.dtype.itemsize}")
    text = base64.b64encode(np.uint64(content.nbytes).astype("<u8").tobytes() + content.tobytes())
    start = f'<DataArray type="{kind}" {_attributes(**attributes)} format="binary">'
    return start.encode() + text + b"</DataArray>\n"


def _attributes(**values: Any) -> str:
    return " ".join(f"{key}={quoteattr(str(value))}" for key, value in values.items())


def _geometry(mesh: Mesh) -> bytes:
    """Return the elements of points and cells, which are the same at all times."""
    points = np.pad(mesh.points, [(0, 0), (0, 3 - mesh.points.shape[1])])
    tables = list(mesh.cells.values())
    sizes = np.concatenate([np.full(len(t), t.shape[1]) for t in tables] or [np.zeros(0, int)])
    kinds = [np.full(len(t), CELLS[kind][0], np.uint8) for kind, t in mesh.cells.items()]
    joined = np.concatenate([t.reshape(-1) for t in tables] or [np.zeros(0, int)])
    parts = [
        _HEADER.format("UnstructuredGrid").encode(),
        f'<UnstructuredGrid><Piece NumberOfPoints="{len(points)}" NumberOfCells="{len(sizes)}">'
        "\n<Points>\n".encode(),
        _array(points, NumberOfComponents=3),
        b"</Points>\n<Cells>\n",
        _array(joined.astype(np.int64), Name="connectivity"),
        _array(np.cumsum(sizes).astype(np.int64), Name="offsets"),
        _array(np.concatenate(kinds or [np.zeros(0, np.uint8)]), Name="types"),
        b"</Cells>\n",
    ]
    return b'<?xml version="1.0"?>\n' + b"".join(parts)


def _components(values: np.ndarray) -> dict[str, int]:
    """Return the attribute of vectors, which scalars do without."""
    return {} if values.ndim == 1 else {"NumberOfComponents": values.shape[1]}


def _piece(head: bytes, values: Mapping[str, np.ndarray]) -> bytes:
    """Return a .vtu file."""
    arrays = [_array(array, Name=name, **_components(array)) for name, array in values.items()]
    end = b"</PointData>\n</Piece></UnstructuredGrid>\n</VTKFile>\n"
    return head + b"<PointData>\n" + b"".join(arrays) + end


def _parallel(values: Mapping[str, np.ndarray], sources: Sequence[str]) -> bytes:
    """Return a .pvtu file, which names those of all ranks."""
    lines = [
        '<?xml version="1.0"?>\n' + _HEADER.format("PUnstructuredGrid"),
        '<PUnstructuredGrid GhostLevel="0">\n<PPoints>\n',
        '<PDataArray type="Float64" NumberOfComponents="3"/>\n</PPoints>\n<PPointData>\n',
        *(
            f'<PDataArray type="Float64" {_attributes(Name=name, **_components(array))}/>\n'
            for name, array in values.items()
        ),
        "</PPointData>\n",
        *(f"<Piece Source={quoteattr(source)}/>\n" for source in sources),
        "</PUnstructuredGrid>\n</VTKFile>\n",
    ]
    return "".join(lines).encode()


def _collection(files: Mapping[float, str]) -> bytes:
    """Return a .pvd file of the files by their times."""
    lines = [
        f'<DataSet timestep="{time!r}" group="" part="0" file={quoteattr(file)}/>\n'
        for time, file in ((float(time), file) for time, file in files.items())
    ]
    start = '<?xml version="1.0"?>\n<VTKFile type="Collection" version="1.0" '
    text = f'{start}byte_order="LittleEndian">\n<Collection>\n{"".join(lines)}</Collection>\n'
    return (text + "</VTKFile>\n").encode()
