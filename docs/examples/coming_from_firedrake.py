import numpy as np
import skfem
from skfem.models.poisson import laplace, mass

import pint
from pint.steppers import ODE, scheme

mesh = skfem.MeshTri.init_symmetric().refined(3)
basis = skfem.Basis(mesh, skfem.ElementTriP1())
inner = mesh.interior_nodes()  # zero on the boundary
K, M = (skfem.asm(form, basis)[inner][:, inner].tocsr() for form in (laplace, mass))
x, y = mesh.p[:, inner]
target = np.sin(np.pi * x) * np.sin(np.pi * y)


class Heat(ODE):  # M y' = -K y + M u
    mass_matrix = M
    initial_state = np.zeros(len(inner))

    def f(self, t, y, u, theta):
        return -(K @ y.T).T + (M @ u["u"].T).T

    def jacobian(self, t, y, u, theta):
        return -K

    def f_vjp(self, t, y, u, theta, lam):  # K and M are symmetric
        return -(K @ lam.T).T, {"u": (M @ lam.T).T}, {}


class Distance(pint.Objective):
    def terminal(self, y, theta):
        return 0.5 * (y - target) @ (M @ (y - target))

    def terminal_derivative(self, y, theta):
        return M @ (y - target), {}


field = pint.TimeControl(len(inner), metric=M)
effort = pint.Tikhonov(1e-3, ["u"])
problem = pint.Problem(*scheme(Heat(), "implicit-euler"), Distance(), {"u": field}, [effort])
functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(0.5, 20))
pint.verify.check_problem(problem, functional.grid).require()
result = pint.minimize(functional)
print(f"J = {result.objective:.8f} after {result.iterations} updates")
