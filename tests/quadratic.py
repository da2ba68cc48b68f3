"""Random linear-quadratic problems, and their optimum by one dense system of equations."""

import numpy as np

from pint.comm import SerialComm
from pint.lq import LinearQuadratic, SharedParameters

OVER_STEPS = ("A", "B", "Q", "R", "S", "q", "r", "d")
SHARED_OVER_STEPS = ("C", "E", "G")


def semidefinite(rng, size, rank):
    """Return a random symmetric matrix of a rank."""
    factor = rng.normal(size=(*size, rank))
    return factor @ np.swapaxes(factor, -1, -2)


def data(seed, N, n, m, p=0, *, free=False, growth=1.0):
    """Return the arrays of a random problem: singular Hessians of the states, and cross terms."""
    rng = np.random.default_rng(seed)
    # Together with the cross terms they are semidefinite, and definite in the controls.
    hessians = semidefinite(rng, (N, n + m), m + n // 2) / (n + m)
    arrays = {
        "A": growth * np.linalg.qr(rng.normal(size=(N, n, n)))[0],
        "B": rng.normal(size=(N, n, m)),
        "Q": hessians[:, :n, :n],
        "S": hessians[:, n:, :n],
        "R": hessians[:, n:, n:] + np.eye(m),
        "q": rng.normal(size=(N, n)),
        "r": rng.normal(size=(N, m)),
        "d": rng.normal(size=(N, n)),
        "Q_end": semidefinite(rng, (n,), n if free else (n + 1) // 2),
        "q_end": rng.normal(size=n),
        "initial": None if free else rng.normal(size=n),
    }
    shared = {
        "T": semidefinite(rng, (p,), p) + (5.0 + N) * np.eye(p),
        "t": rng.normal(size=p),
        "C": rng.normal(size=(N, n, p)) / 4,
        "C_initial": None if free else rng.normal(size=(n, p)),
        "E": rng.normal(size=(N, p, n)) / 8,
        "G": rng.normal(size=(N, p, m)) / 8,
        "E_end": rng.normal(size=(p, n)) / 8,
    }
    if free:
        arrays["Q"] = arrays["Q"] + np.eye(n)
    return arrays, shared if p else None


def problem(arrays, shared, comm=None, cuts=None):
    """Return the problem, or the steps of it between two of the cuts that belong to a rank."""
    comm = comm or SerialComm()
    cuts = cuts or [0, len(arrays["A"])]
    own = slice(cuts[comm.rank], cuts[comm.rank + 1])
    mine = {key: value[own] if key in OVER_STEPS else value for key, value in arrays.items()}
    if shared is not None:
        parts = {k: v[own] if k in SHARED_OVER_STEPS else v for k, v in shared.items()}
        mine["parameters"] = SharedParameters(**parts)
    return LinearQuadratic(**mine)


def dense(arrays, shared):
    """Return x, u, theta and multipliers by the equations of optimality, all at once."""
    N, n, m = arrays["B"].shape
    p = 0 if shared is None else len(shared["T"])
    X, U = (N + 1) * n, N * m
    H, g = np.zeros((X + U + p,) * 2), np.zeros(X + U + p)
    x = [slice(k * n, (k + 1) * n) for k in range(N + 1)]
    u = [slice(X + k * m, X + (k + 1) * m) for k in range(N)]
    theta = slice(X + U, None)
    constraints, right = np.zeros((X, X + U + p)), np.zeros(X)
    for k in range(N):
        H[x[k], x[k]], H[u[k], u[k]] = arrays["Q"][k], arrays["R"][k]
        H[u[k], x[k]], H[x[k], u[k]] = arrays["S"][k], arrays["S"][k].T
        g[x[k]], g[u[k]] = arrays["q"][k], arrays["r"][k]
        row = x[k + 1]
        constraints[row, x[k]], constraints[row, u[k]] = arrays["A"][k], arrays["B"][k]
        right[row] = -arrays["d"][k]
    constraints -= np.eye(X, X + U + p)
    H[x[N], x[N]], g[x[N]] = arrays["Q_end"], arrays["q_end"]
    if p:
        H[theta, theta], g[theta] = shared["T"], shared["t"]
        for k in range(N):
            H[theta, x[k]], H[theta, u[k]] = shared["E"][k], shared["G"][k]
            H[x[k], theta], H[u[k], theta] = shared["E"][k].T, shared["G"][k].T
            constraints[x[k + 1], theta] = shared["C"][k]
        H[theta, x[N]], H[x[N], theta] = shared["E_end"], shared["E_end"].T
        if arrays["initial"] is not None:
            constraints[x[0], theta] = shared["C_initial"]
    if arrays["initial"] is None:
        constraints, right = constraints[n:], right[n:]
    else:
        right[x[0]] = -arrays["initial"]
    rows = len(right)
    system = np.block([[H, constraints.T], [constraints, np.zeros((rows, rows))]])
    solved = np.linalg.solve(system, np.concatenate([-g, right]))
    w, multipliers = solved[: len(g)], solved[len(g) :].reshape(-1, n)
    if arrays["initial"] is None:
        multipliers = np.concatenate([np.zeros((1, n)), multipliers])
    objective = w @ H @ w / 2 + g @ w
    return w[:X].reshape(-1, n), w[X : X + U].reshape(-1, m), w[theta], multipliers, objective
