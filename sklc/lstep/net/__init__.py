"""The L step of nets: stochastic optimisation by skorch."""
