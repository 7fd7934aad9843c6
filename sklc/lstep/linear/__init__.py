"""The L step of scikit-learn's linear models: exact, in double precision."""
