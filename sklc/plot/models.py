"""Models to compare, out of searches and of compressors."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.utils.validation import check_is_fitted

from sklc.estimator.comparison import standings


def candidates(
    search: Any, score: str, size: str, group: Callable[[dict[str, Any]], str] | None
) -> dict[str, Any]:
    """Return the candidates of a search (see ``TradeoffDisplay.from_search``).

    Returns
    -------
    dict
        Arguments of a :class:`~sklc.plot.TradeoffDisplay`.
    """
    check_is_fitted(search)
    results = search.cv_results_
    for name in score, size:
        if f"mean_test_{name}" not in results:
            msg = (
                f"The search has no score {name!r}: pass scoring={{{score!r}: ..., "
                f"{size!r}: sklc.metrics.nbits}} to it."
            )
            raise ValueError(msg)

    def kind(params: dict[str, Any]) -> str:
        every = search.estimator.get_params() | params
        schemes = [v for k, v in every.items() if k.split("__")[-1] == "scheme"]
        return type(schemes[0]).__name__ if schemes else "compressed"

    scoring = search.scoring.get(score) if hasattr(search.scoring, "get") else None
    return {
        "sizes": results[f"mean_test_{size}"],
        "scores": results[f"mean_test_{score}"],
        "groups": list(map(group or kind, results["params"])),
        "score_name": scoring if isinstance(scoring, str) else score,
        "spread": results[f"std_test_{score}"],
        "chosen": getattr(search, "best_index_", None),
    }


def scored(
    compressors: Mapping[str, Any],
    X: Any,
    y: Any,
    others: Mapping[str, tuple[Any, Any]],
    score_params: dict[str, Any],
) -> dict[str, Any]:
    """Score compressors (see ``TradeoffDisplay.from_compressors``).

    Returns
    -------
    dict
        Arguments of a :class:`~sklc.plot.TradeoffDisplay`.
    """
    if not isinstance(compressors, Mapping):
        msg = (
            "compressors must be a dict of LCCompressors by the names that they get, "
            f"got {type(compressors).__name__}."
        )
        raise TypeError(msg)
    found = [
        (name, lc)
        for name, own in compressors.items()
        for lc in (own if isinstance(own, list | tuple) else [own])
    ]
    if not found:
        msg = "compressors must hold one LCCompressor at least."
        raise ValueError(msg)
    groups, ends, starts, reference = [], [], [], None
    for name, lc in found:
        check_is_fitted(lc)
        before, start, end = standings(lc, X, y, score_params)[0].values()
        if end.score is None:
            msg = f"{type(lc.estimator_).__name__} has no method score."
            raise ValueError(msg)
        known = hasattr(lc, "reference_")
        groups.append(name)
        ends.append((end.bits, end.score))
        starts.append((start.bits, start.score) if known else (np.nan, np.nan))
        if known and reference is None:
            reference = before.bits, before.score
    for name, (sizes, scores) in others.items():
        groups += [name] * len(sizes)
        ends += zip(sizes, scores, strict=True)
        starts += [(np.nan, np.nan)] * len(sizes)
    all_sizes, all_scores = zip(*ends, strict=True)
    return {
        "sizes": all_sizes,
        "scores": all_scores,
        "groups": groups,
        "score_name": _score_name(found[0][1]),
        "direct": tuple(zip(*starts, strict=True)),
        "reference": reference,
    }


def _score_name(compressor: Any) -> str:
    """Return what the method score of a compressor measures."""
    if is_classifier(compressor):
        return "accuracy"
    return "R²" if is_regressor(compressor) else "score"
