"""A control problem of your own: write three small classes, have them checked, solve.

Vaccination against an epidemic. S and I are the fractions of a population that are susceptible
and infected, u the rate of vaccination:

    minimise    integral of I + u^2 / 10
    subject to  S' = -3 S I - u S,   I' = 3 S I - I,   S(0) = 0.9, I(0) = 0.1,   0 <= u <= 0.6

by explicit Euler. `check_problem` says which method, level, field and entry is wrong.

    python examples/define_your_own.py                  (or: mpiexec -n 2 python ...)
"""

import numpy as np

import pint


class Epidemic(pint.TimeStepper):
    batched = True  # y has shape (steps, 2), a block of the control (steps, 1)
    initial_state = np.array([0.9, 0.1])

    def step(self, s, y, u, theta):
        S, I = y[:, :1], y[:, 1:]  # noqa: E741
        infected, vaccinated = 3 * S * I, u["rate"] * S
        return y + s.dt * np.hstack([-infected - vaccinated, infected - I])


class EpidemicAdjoint(pint.Adjoint):
    def vjp(self, s, y, u, theta, lam):
        S, I, p, q = y[:, :1], y[:, 1:], lam[:, :1], lam[:, 1:]  # noqa: E741
        of_y = np.hstack([3 * I * (q - p) - u["rate"] * p, 3 * S * (q - p) - q])
        return lam + s.dt * of_y, {"rate": -s.dt * S * p}, {}


class Cost(pint.Objective):
    def step_cost(self, s, y0, y1, u, theta):
        return (s.dt * (y1[:, 1:] + u["rate"] ** 2 / 10))[:, 0]

    def step_cost_derivative(self, s, y0, y1, u, theta):
        return 0.0, s.dt * np.array([0.0, 1.0]), {"rate": s.dt * u["rate"] / 5}, {}


MGRIT = pint.ReducedSpace(gradient_tolerance=1e-7, iterations=200)


def main(steps=128, levels=2, method=MGRIT):
    comm, rate = pint.world(), pint.TimeControl(1, lower=0.0, upper=0.6)
    problem = pint.Problem(Epidemic(), EpidemicAdjoint(), Cost(), controls={"rate": rate})
    few = pint.TimeGrid(10 * np.linspace(0, 1, 17) ** 1.2, levels=2, comm=comm)
    pint.verify.check_problem(problem, few).require()

    grid = pint.TimeGrid.uniform(10.0, steps, coarsening=4, levels=levels, comm=comm)
    functional = pint.ReducedFunctional(problem, grid)
    result = pint.minimize(functional, functional.control(rate=0.3), method)
    states = result.states()  # one row for each time, on the first rank
    if comm.rank == 0:
        print(f"J = {result.objective:.12g}: {result.message}")
        print(
            f"At most {states[:, 1].max():.1%} are infected, {states[-1, 0]:.1%} stay susceptible."
        )
    return result


if __name__ == "__main__":
    main()
