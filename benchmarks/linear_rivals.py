"""Other ways to linear models of few coefficients, of the benchmark linear.py.

Each returns supports; whoever compares them refits all alike.
"""

import warnings

import numpy as np
from abess import LinearRegression as AbessLinear
from abess import LogisticRegression as AbessLogistic
from skglm.datafits import Logistic, Quadratic
from skglm.penalties import L0_5, L1, MCPenalty
from skglm.solvers import AndersonCD, ProxNewton
from skglm.utils.jit_compilation import compiled_clone
from sklearn.linear_model import LogisticRegression, Ridge, orthogonal_mp

N_PENALTIES = 60


def abess(X, y, size, *, classify):
    """Return the supports of abess: of the size alone, and of all sizes up to it."""
    kind = AbessLogistic if classify else AbessLinear
    found = []
    for sizes in [size], range(1, size + 1):
        model = kind(support_size=sizes, ic_coef=0.0)  # the largest of them
        model.fit(X, y)
        found.append(np.flatnonzero(model.coef_))
    return found


def omp(X, y, size, *, classify):
    """Return the support of orthogonal matching pursuit."""
    if classify:
        return []
    coef = orthogonal_mp(X - X.mean(0), y - y.mean(), n_nonzero_coefs=size)
    return [np.flatnonzero(coef)]


def _path(penalty, X, y, size, classify, *, upwards=False):
    """Return supports of at most a size, along a path of penalties."""
    datafit = compiled_clone(Logistic() if classify else Quadratic())
    penalty = compiled_clone(penalty)
    target = np.where(y > 0, 1.0, -1.0) if classify else y - y.mean()
    X = np.asfortranarray(X - X.mean(0))
    first = np.abs(X.T @ target).max() / len(y) / (2 if classify else 1)
    alphas = first * np.logspace(0, -4, N_PENALTIES)
    kind = ProxNewton if classify else AndersonCD
    solver = kind(tol=1e-6, max_iter=50, fit_intercept=classify)
    w, found = np.zeros(X.shape[1] + classify), []
    if upwards:  # zero is a minimum: begin from a dense one
        w, alphas = _begin(X, y, target, alphas[-1], classify), alphas[::-1]
    datafit.initialize(X, target)
    for alpha in alphas:
        penalty.alpha = alpha
        Xw = X @ w[: X.shape[1]] + (w[-1] if classify else 0.0)
        w = solver.solve(X, target, datafit, penalty, w_init=w, Xw_init=Xw)[0]
        coef = w[: X.shape[1]]
        support = np.flatnonzero(coef)
        if 0 < len(support) <= 2 * size:
            order = np.argsort(-np.abs(coef))[: min(size, len(support))]
            found.append(np.sort(order))
        if len(support) > 2 * size and not upwards:
            break
    return found


def _begin(X, y, target, alpha, classify):
    if classify:
        model = LogisticRegression(C=1 / (alpha * len(y)), max_iter=1000).fit(X, y)
        return np.append(model.coef_[0], model.intercept_)
    return Ridge(alpha * len(y)).fit(X, target).coef_


def mcp(X, y, size, *, classify):
    """Return supports of the minimax concave penalty."""
    return _path(MCPenalty(1.0, gamma=3.0), X, y, size, classify)


def l05(X, y, size, *, classify):
    """Return supports of the square root of the magnitudes as penalty."""
    return _path(L0_5(1.0), X, y, size, classify, upwards=True)


def lasso(X, y, size, *, classify):
    """Return supports of the l1 penalty."""
    return _path(L1(1.0), X, y, size, classify)


def threshold(reference, size):
    """Return the largest coefficients of a model."""
    return [np.sort(np.argsort(-np.abs(reference.coef_).ravel())[:size])]


RIVALS = {"abess": abess, "OMP": omp, "MCP": mcp, "L0.5": l05, "l1": lasso}


def supports(name, X, y, size, *, classify=False):
    """Return the supports that a rival finds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return RIVALS[name](X, y, size, classify=classify)
