"""Metrics by matrices of PETSc, divided among ranks in space, and of scipy, alike on all ranks."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse

import pint
from pint.comm import SerialComm

pytestmark = [pytest.mark.petsc, pytest.mark.layout]

SIZE = 13
BANDS = [np.linspace(1, 9, SIZE), np.full(SIZE - 1, 0.4), np.full(SIZE - 1, 0.4)]
MASS = scipy.sparse.diags(BANDS, [0, 1, -1]).tocsr()


def divided(world, matrix):
    """Return this rank's rows, and a matrix as one of PETSc."""
    from petsc4py import PETSc

    rows = np.array_split(np.arange(SIZE), world.size)[world.rank]
    own = matrix.tocsr()[rows]
    csr = (own.indptr.astype(PETSc.IntType), own.indices.astype(PETSc.IntType), own.data)
    size = ((len(rows), SIZE), (len(rows), SIZE))
    return rows, PETSc.Mat().createAIJ(size=size, csr=csr, comm=PETSc.COMM_WORLD)


def fields(world, matrix, **options):
    rows, own = divided(world, matrix)
    options |= {"metric": own, "comm": world}
    return {"u": pint.TimeControl(len(rows), weight=2.0, **options),
            "p": pint.SharedControl(len(rows), **options)}  # fmt: skip


@pytest.mark.parametrize(
    "matrix", [MASS, scipy.sparse.diags(MASS.diagonal())], ids=["mass", "lumped"]
)
def test_products_riesz_maps_and_directions_on_ranks_in_space(world, matrix):
    grid = pint.TimeGrid([0.0, 0.3, 1.0])
    ours = pint.ControlSpace(grid, world, **fields(world, matrix))
    serial = pint.ControlSpace(grid, u=pint.TimeControl(SIZE, weight=2.0, metric=matrix),
                               p=pint.SharedControl(SIZE, metric=matrix))  # fmt: skip
    random = np.random.default_rng(0)
    values = [{"u": random.standard_normal((2, SIZE)), "p": random.standard_normal(SIZE)}
              for _ in range(6)]  # fmt: skip
    found, expected = ([space.control(**one) for one in values] for space in (ours, serial))
    assert ours.inner(*found[:2]) == pytest.approx(serial.inner(*expected[:2]), rel=1e-13)
    for of in ("riesz", "dual"):
        gathered = getattr(ours, of)(found[0]).gather()
        for name, value in getattr(serial, of)(expected[0]).gather().items():
            np.testing.assert_allclose(gathered[name], value, rtol=1e-12, atol=1e-13)
    directions = []
    for space, controls in ((ours, found), (serial, expected)):
        hessian = pint.lbfgs(3)
        for s, d in pairwise(controls[:5]):
            hessian = hessian.updated(s, s + 0.1 * space.riesz(d))
        assert len(hessian.pairs) == 3
        np.testing.assert_allclose(hessian.measured()[0], hessian.products, rtol=1e-10, atol=1e-12)
        directions.append(hessian.apply(controls[5]).gather())
    for name, value in directions[1].items():
        np.testing.assert_allclose(directions[0][name], value, rtol=1e-10, atol=1e-12)


def test_norms_of_states_on_ranks_in_space(world):
    from pint.comm import reduce
    from pint.states.petsc import PetscSpace

    rows, own = divided(world, MASS)
    space = PetscSpace(own.createVecs()[0], weight=0.5, metric=own)
    block = np.random.default_rng(0).standard_normal((3, SIZE))
    expected = 0.25 * np.einsum("ni,ij,nj->", block, MASS.toarray(), block)
    found = reduce(world, space.squared_norm(block[:, rows]))[0]
    assert found == pytest.approx(expected, rel=1e-13)


def test_gradients_of_shared_fields_are_alike_on_ranks_in_time(world):
    grid = pint.TimeGrid.uniform(1.0, 7, comm=world)
    space = pint.ControlSpace(grid, p=pint.SharedControl(SIZE, metric=MASS))
    gradient = space.riesz(space.control(p=np.sin(np.arange(SIZE))))
    for other in world.allgather(gradient.vector):
        np.testing.assert_array_equal(other, gradient.vector)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (MASS - 3 * scipy.sparse.identity(SIZE), "positive definite"),
        (scipy.sparse.triu(MASS), "symmetric"),
    ],
)
def test_matrices_that_are_no_metrics(world, matrix, message):
    with pytest.raises(ValueError, match=f"`TimeControl.metric=.*{message}"):
        fields(world, matrix)


def test_matrices_that_are_divided_otherwise(world):
    rows, own = divided(world, MASS)
    wrong = len(rows) + 1 if world.rank == 0 else len(rows)
    with pytest.raises(ValueError, match=r"`TimeControl\(metric=.*divided among them as"):
        pint.TimeControl(wrong, metric=own, comm=world)
    if world.size > 1:
        with pytest.raises(ValueError, match=f"PETSc matrix on 1 rank.*on {world.size} rank"):
            pint.TimeControl(len(rows), metric=own, comm=SerialComm())
        with pytest.raises(ValueError, match=f"distributed over {world.size} ranks.*PETSc"):
            pint.TimeControl(SIZE, metric=MASS, comm=world)
        with pytest.raises(ValueError, match=r"diagonal.*bounds"):
            fields(world, MASS, lower=0.0)
    else:
        with pytest.raises(ValueError, match=r"External.*metric of the control `u`.*scipy"):
            grid = pint.TimeGrid.uniform(1.0, 2)
            pint.External("scipy:L-BFGS-B").check(_Problem(fields(world, MASS)), grid)


def test_diagonals_that_one_rank_has_wrong(world):
    own = np.ones(3)
    own[0] = -1.0 if world.rank == world.size - 1 else 1.0
    mine = "must be positive definite" if own[0] < 0 else f"failed on rank {world.size - 1}"
    with pytest.raises((ValueError, RuntimeError), match=rf"`TimeControl\(metric=...\)` {mine}"):
        pint.TimeControl(3, metric=scipy.sparse.diags(own), comm=world)


class _Problem:
    """The part of a problem that `External.check` reads."""

    def __init__(self, controls):
        self.controls = controls
