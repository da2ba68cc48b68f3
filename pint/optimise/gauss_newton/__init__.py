"""Gauss-Newton and Newton methods with states and controls as unknowns together."""
