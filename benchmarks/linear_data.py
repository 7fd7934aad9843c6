"""Data of the benchmark linear.py: planted models, and real tables."""

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import PolynomialFeatures, StandardScaler


def correlated(rng, n, p, rho, equal=False):
    """Return normal features whose correlation is rho ** distance, or rho for all."""
    far = np.ones((p, p)) if equal else np.abs(np.subtract.outer(range(p), range(p)))
    covariance = np.where(np.eye(p), 1.0, float(rho) ** far)
    root = np.linalg.cholesky(covariance)
    return rng.standard_normal((n, p)) @ root.T


def planted(rng, X, size, noise):
    """Return targets of so many features; the noise has this share of the variance."""
    coef = np.zeros(X.shape[1])
    at = rng.choice(X.shape[1], size, replace=False)
    coef[at] = rng.choice([-1.0, 1.0], size) * rng.uniform(0.5, 1.5, size)
    y = X @ coef
    return y + np.sqrt(noise) * y.std() * rng.standard_normal(len(y))


def quadratic(X):
    """Return the features, their squares and their products, as they differ."""
    X = StandardScaler().fit_transform(X)
    return PolynomialFeatures(2, include_bias=False).fit_transform(X)


def _diabetes():
    X, y = load_diabetes(return_X_y=True)
    return quadratic(X), y


def _cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return quadratic(X), y


def _area():
    X, _ = load_breast_cancer(return_X_y=True)
    return quadratic(np.delete(X, 23, axis=1)), X[:, 23] / X[:, 23].std()


def _wine():
    X, _ = load_wine(return_X_y=True)
    return quadratic(X[:, 1:]), X[:, 0]


_LOGISTIC = LogisticRegression(C=100.0, max_iter=10_000)
#: By name: data, model, size, rivals (None for all).
REAL = {
    "diabetes, quadratic": (_diabetes, LinearRegression(), 12, None),
    "wine, quadratic": (_wine, LinearRegression(), 8, None),
    "cell area, quadratic": (_area, LinearRegression(), 10, None),
    "breast cancer, quadratic": (_cancer, _LOGISTIC, 4, ("abess", "MCP", "l1")),
}
