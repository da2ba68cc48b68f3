"""The loops of `pint.lq.riccati` for machine code.

The text of this module is compiled with the lengths n of states, e of z = (x, 1, theta) and m of
controls, z = e + m, and the smallest relative pivot `least` as constants, which makes it three
times faster for small ones. It is never imported.

Where a step is multiplied by F = [[A, d, C, B], [0, 1, 0]], the lower rows are known.
"""
# ruff: noqa: F821, D103
# mypy: ignore-errors


# Parts of a step


def _upper_product(P, f, T):
    """Write the upper n rows of ``P F``."""
    for i in range(n):
        for j in range(z):
            total = P[i, j] if n <= j < e else 0.0
            for a in range(n):
                total += P[i, a] * f[a, j]
            T[i, j] = total


def _hessian(P, f, h, T, G):
    """Write the lower half of ``F^T P F + H``, from the upper rows of ``P F``."""
    for i in range(z):
        for j in range(i + 1):
            total = h[i, j]
            for a in range(n):
                total += f[a, i] * T[a, j]
            if n <= i < e:
                for a in range(n):
                    total += P[i, a] * f[a, j]
                if n <= j:
                    total += P[i, j]
            G[i, j] = total


def _cholesky(G, L):
    """Factorise the last m rows and columns; return the smallest pivot, or one <= 0 or NaN."""
    smallest = np.inf
    for j in range(m):
        pivot = G[e + j, e + j]
        for a in range(j):
            pivot -= L[j, a] * L[j, a]
        if not pivot > least * G[e + j, e + j]:
            return min(pivot, 0.0) if pivot == pivot else pivot
        smallest = min(smallest, pivot)
        L[j, j] = math.sqrt(pivot)
        for i in range(j + 1, m):
            total = G[e + i, e + j]
            for a in range(j):
                total -= L[i, a] * L[j, a]
            L[i, j] = total / L[j, j]
    return smallest


def _gains(G, L, gain):
    """Solve for the gains."""
    for j in range(e):
        for i in range(m):
            total = -G[e + i, j]
            for a in range(i):
                total -= L[i, a] * gain[a, j]
            gain[i, j] = total / L[i, i]
        for i in range(m - 1, -1, -1):
            total = gain[i, j]
            for a in range(i + 1, m):
                total -= L[a, i] * gain[a, j]
            gain[i, j] = total / L[i, i]


def _complement(G, gain, out):
    """Write the value function with the controls minimised out."""
    for i in range(e):
        for j in range(i + 1):
            total = G[i, j]
            for a in range(m):
                total += G[e + a, i] * gain[a, j]
            out[i, j] = total
            out[j, i] = total


def _reach(moved, L, reached, C):
    """Add what the controls of a step reach at the end of the run to `C`."""
    for i in range(n):
        for j in range(m):
            total = moved[i, e + j]
            for a in range(j):
                total -= reached[i, a] * L[j, a]
            reached[i, j] = total / L[j, j]
        for j in range(i + 1):
            total = C[i, j]
            for a in range(m):
                total += reached[i, a] * reached[j, a]
            C[i, j] = total
            C[j, i] = total


def _closed(moved, gain, A):
    """Write the upper rows of A with the feedback of a step."""
    for i in range(n):
        for j in range(e):
            total = moved[i, j]
            for a in range(m):
                total += moved[i, e + a] * gain[a, j]
            A[i, j] = total


# Loops over the steps


def backward(F, H, V, K, A, C, condensing):
    T, G, L = np.empty((n, z)), np.empty((z, z)), np.empty((m, m))
    reached, smallest = np.empty((n, m)), np.inf
    for k in range(len(F) - 1, -1, -1):
        _upper_product(V[k + 1], F[k], T)
        _hessian(V[k + 1], F[k], H[k], T, G)
        pivot = _cholesky(G, L)
        if not pivot > 0.0:
            return pivot, k
        smallest = min(smallest, pivot)
        _gains(G, L, K[k])
        _complement(G, K[k], V[k])
        if condensing:
            _upper_product(A, F[k], T)
            _reach(T, L, reached, C)
            _closed(T, K[k], A)
    return smallest, -1


def forward(F, K, z, u):
    for k in range(len(F)):
        f, gain, old, new, control = F[k], K[k], z[k], z[k + 1], u[k]
        for i in range(m):
            total = 0.0
            for a in range(e):
                total += gain[i, a] * old[a]
            control[i] = total
        for i in range(n):
            total = 0.0
            for a in range(e):
                total += f[i, a] * old[a]
            for a in range(m):
                total += f[i, e + a] * control[a]
            new[i] = total
