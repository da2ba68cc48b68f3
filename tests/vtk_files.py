"""Reads what `pint.io` writes, by the rules of VTK's XML files, and by meshio where it is."""

import base64
import importlib.util
import xml.etree.ElementTree as ElementTree

import numpy as np

TYPES = {"Float64": "<f8", "Int64": "<i8", "UInt8": "u1"}


def numbers(element):
    content = base64.b64decode(element.text)
    (size,) = np.frombuffer(content[:8], "<u8")
    values = np.frombuffer(content[8:], TYPES[element.get("type")])
    assert values.nbytes == size
    width = int(element.get("NumberOfComponents", 1))
    return values if width == 1 else values.reshape(-1, width)


def read_piece(path):
    """Return points, the points of each cell, and the values by name, of a .vtu file."""
    root = ElementTree.parse(path).getroot()
    assert (root.get("type"), root.get("header_type")) == ("UnstructuredGrid", "UInt64")
    piece = root.find("UnstructuredGrid/Piece")
    points = numbers(piece.find("Points/DataArray"))
    cells = {one.get("Name"): numbers(one) for one in piece.findall("Cells/DataArray")}
    values = {one.get("Name"): numbers(one) for one in piece.findall("PointData/DataArray")}
    assert len(points) == int(piece.get("NumberOfPoints"))
    assert len(cells["types"]) == int(piece.get("NumberOfCells"))
    table = np.split(cells["connectivity"], cells["offsets"][:-1])
    if importlib.util.find_spec("meshio"):
        check_by_meshio(path, points, table, values)
    return points, table, values


def check_by_meshio(path, points, table, values):
    import meshio

    found = meshio.read(path)
    np.testing.assert_array_equal(found.points, points)
    cells = [list(cell) for block in found.cells for cell in block.data]
    assert cells == [list(cell) for cell in table]
    for name, array in values.items():
        np.testing.assert_array_equal(found.point_data[name], array)


def read_series(path):
    """Return times and the pieces at each of them, of a .pvd file."""
    times, pieces = [], []
    for entry in ElementTree.parse(path).getroot().iter("DataSet"):
        times.append(float(entry.get("timestep")))
        file = path.parent / entry.get("file")
        names = [file.name]
        if file.suffix == ".pvtu":
            root = ElementTree.parse(file).getroot()
            names = [piece.get("Source") for piece in root.iter("Piece")]
        pieces.append([read_piece(path.parent / name) for name in names])
    return np.array(times), pieces
