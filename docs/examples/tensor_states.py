"""Steps, transposes and a cost of tensors: y' = u - y^3 from y = 1 to y = 2, many at a time."""

import pint


class Cubic(pint.TimeStepper):
    batched = True

    def __init__(self, **options):
        self._space = pint.TorchSpace(1000, **options)

    @property
    def space(self):
        return self._space

    def initial(self, theta):
        return [1.0] * 1000  # or a tensor on the device

    def step(self, s, y, u, theta):
        return y + s.dt * (u["u"] - y**3)


class CubicAdjoint(pint.Adjoint):
    def vjp(self, s, y, u, theta, lam):
        slope = s.dt * lam
        return lam - 3 * y**2 * slope, {"u": slope}, {}


class Arrival(pint.Objective):
    def terminal(self, y, theta):
        return 0.5 * ((y - 2) ** 2).mean()

    def terminal_derivative(self, y, theta):
        return (y - 2) / len(y), {}


def main(**options):
    problem = pint.Problem(
        Cubic(**options), CubicAdjoint(), Arrival(), {"u": pint.TimeControl(1000)}
    )
    functional = pint.ReducedFunctional(problem, pint.TimeGrid.uniform(1.0, 64, 8, 2))
    return pint.minimize(functional, method=pint.OneShot(iterations=20))


if __name__ == "__main__":
    print(main(device="cpu", dtype="float32").objective)
