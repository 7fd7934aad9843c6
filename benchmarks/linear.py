"""Compressed linear models beside other ways to few coefficients, and their speed.

    python benchmarks/linear.py --subsets     # against exhaustive search
    python benchmarks/linear.py --synthetic   # three shapes, correlations and sizes
    python benchmarks/linear.py --real        # ill-conditioned real data
    python benchmarks/linear.py --speed       # a whole fit over one of scikit-learn

All from a seed; nothing is tuned. It needs ``pip install ".[rivals]"``, and takes
minutes for each (most of them skglm's compilation). ``--quick`` takes a few instances.

*Excess* is (ours - best) / max(best, 5 % of the loss of a constant) of the training
objective, after a refit of every support; best is the best of all methods, ours too.
"""

import argparse
import itertools
import sys

import numpy as np
from linear_data import REAL, correlated, planted
from linear_rivals import RIVALS, supports, threshold
from linear_speed import main as speed
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from sklc import LCCompressor
from sklc.schemes import ConstraintL0Pruning


def refit(model, X, y, support):
    """Return the objective of a model on a support, and the model."""
    found = model.__class__(**model.get_params()).fit(X[:, support], y)
    return objective(found, X[:, support], y), found


def objective(model, X, y):
    """Return what a model minimises, as a mean over samples."""
    if isinstance(model, LinearRegression):
        return float(np.mean((y - model.predict(X)) ** 2))
    penalty = (model.coef_**2).sum() / (2 * model.C * len(y))
    return float(log_loss(y, model.predict_proba(X)) + penalty)


def constant(model, y):
    """Return the loss of a constant."""
    if isinstance(model, LinearRegression):
        return float(y.var())
    return float(log_loss(y, np.tile(np.bincount(y) / len(y), (len(y), 1))))


def ours(model, X, y, size):
    """Return the support that LC finds."""
    lc = LCCompressor(model, ConstraintL0Pruning(kappa=size)).fit(X, y)
    return [np.flatnonzero(lc.coef_)]


def compared(model, X, y, size, names):
    """Return the best refit of each method: by name, objective and support."""
    classify = isinstance(model, LogisticRegression)
    reference = model.__class__(**model.get_params()).fit(X, y)
    found = {"LC": ours(model, X, y, size)}
    found["threshold"] = threshold(reference, size)
    for name in names:
        found[name] = supports(name, X, y, size, classify=classify)
    best = {}
    for name, tried in found.items():
        if tried:
            fits = [(refit(model, X, y, support)[0], support) for support in tried]
            best[name] = min(fits, key=lambda fit: fit[0])
    return best


def excesses(best, null):
    """Return the excess of each method, in per cent."""
    least = min(value for value, _ in best.values())
    scale = max(least, 0.05 * null)
    return {name: 100 * (value - least) / scale for name, (value, _) in best.items()}


def head(title, names):
    """Print the head of a table."""
    print(f"{title:<34}" + "".join(f"{name:>11}" for name in names), flush=True)


def line(label, values, names):
    """Print a line of it."""
    cells = [f"{values[n]:>11.3f}" if n in values else " " * 11 for n in names]
    print(f"{label:<34}" + "".join(cells), flush=True)


def mean(listed):
    """Return the mean of dicts of numbers, by name."""
    return {name: float(np.mean([each[name] for each in listed])) for name in listed[0]}


def subsets(options):
    """Compare with the best of all subsets of 4 out of 12."""
    goals = {"0.5": 97, "0.9": 92, "equal 0.9": 93}
    n_instances = 10 if options.quick else 100
    print(f"the best subset of 4 out of 12 found, of {n_instances} instances")
    every = [np.array(s) for s in itertools.combinations(range(12), 4)]
    for name, goal in goals.items():
        hits = dict.fromkeys(["LC", "threshold", "abess", "OMP"], 0)
        for seed in range(n_instances):
            rng = np.random.default_rng([12, seed])
            X = correlated(rng, 40, 12, float(name.split()[-1]), "equal" in name)
            y = planted(rng, X, 4, noise=1.0)
            G, c = np.cov(X.T, bias=True), (X - X.mean(0)).T @ (y - y.mean()) / len(y)
            least = y.var() - max(
                c[s] @ np.linalg.solve(G[np.ix_(s, s)], c[s]) for s in every
            )
            for method, (value, _) in compared(
                LinearRegression(), X, y, 4, ["abess", "OMP"]
            ).items():
                hits[method] += value <= least * (1 + 1e-9)
        found = ", ".join(f"{method} {n}" for method, n in hits.items())
        print(f"correlation {name:<12} goal {goal}: {found}", flush=True)


def synthetic(options):
    """Compare on planted models."""
    names = ["LC", "threshold", *RIVALS]
    head("excess (%)", names)
    shapes = [((200, 100), 10), ((1000, 200), 20), ((200, 1000), 10)]
    for (n, p), true in shapes:
        every = []
        for rho, share in itertools.product((0.0, 0.5, 0.9), (0.5, 1.0, 2.0)):
            found = []
            for seed in range(1 if options.quick else 3):
                rng = np.random.default_rng([n, p, int(10 * rho), seed])
                X = correlated(rng, n, p, rho)
                y = planted(rng, X, true, noise=0.5)
                size = int(share * true)
                best = compared(LinearRegression(), X, y, size, RIVALS)
                found.append(excesses(best, y.var()))
            every += found
            line(f"{n} x {p}, {rho}, {size} of {true}", mean(found), names)
        line(f"{n} x {p}, mean", mean(every), names)


def real(options):
    """Compare on real data: excess, and test scores."""
    names = ["LC", "threshold", *RIVALS]
    head("excess (%), test score", names)
    for label, (load, model, size, rivals) in REAL.items():
        X, y = load()
        found, scores = [], []
        for seed in range(2 if options.quick else 10):
            parts = train_test_split(X, y, test_size=0.3, random_state=seed)
            X_train, X_test, y_train, y_test = parts
            center, scale = X_train.mean(0), X_train.std(0)
            use = scale > 0
            X_train = (X_train[:, use] - center[use]) / scale[use]
            X_test = (X_test[:, use] - center[use]) / scale[use]
            best = compared(model, X_train, y_train, size, rivals or RIVALS)
            found.append(excesses(best, constant(model, y_train)))
            scores.append(
                {
                    name: refit(model, X_train, y_train, support)[1].score(
                        X_test[:, support], y_test
                    )
                    for name, (_, support) in best.items()
                }
            )
        line(f"{label}, {size} of {X.shape[1]}", mean(found), names)
        score = mean(scores)
        top = max(score, key=score.get)
        away = [each["LC"] - each[top] for each in scores]
        error = np.std(away, ddof=1) / np.sqrt(len(away))
        line(f"  LC less {top}: {np.mean(away):.4f} ± {error:.4f}", score, names)


def main():
    """Do what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in "subsets", "synthetic", "real", "speed", "quick":
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--data", help="folder of MNIST (of --speed)")
    parser.add_argument("--case", help="part of the name of a case (of --speed)")
    options = parser.parse_args()
    for run in subsets, synthetic, real, speed:
        name = run.__name__ if run is not speed else "speed"
        if getattr(options, name):
            run(options)


if __name__ == "__main__":
    sys.exit(main())
