"""The state and the adjoint equation, between the multigrid engine and the optimisers."""
