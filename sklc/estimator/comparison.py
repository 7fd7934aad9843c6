"""The compressed model beside those that it came from."""

from typing import Any

from sklc.deploy.report import Standing


def standings(
    compressor: Any, X: Any, y: Any, score_params: dict[str, Any]
) -> tuple[dict[str, Standing], tuple[str, ...]]:
    """Return how the reference, direct compression and the result do.

    Parameters
    ----------
    compressor : LCCompressor
        Fitted.
    X, y : data
        To score them by; there are no scores if `X` is None.
    score_params : dict

    Returns
    -------
    standings : dict of str to Standing
        By name, in this order.
    notes : tuple of str
        What is missing, and how to have it.
    """
    notes = []
    if X is None:
        notes.append("No scores: pass data to have them, as in report(X, y).")
    elif not hasattr(compressor, "score"):
        name = type(compressor.estimator_).__name__
        notes.append(f"No scores: {name} has no method score.")
    elif not hasattr(compressor, "reference_"):
        notes.append(
            "Scores of the reference and of direct compression need a compressor that "
            "was fitted with keep_reference=True."
        )

    def score(name: str) -> float | None:
        if X is None or not hasattr(compressor, "score"):
            return None
        if not hasattr(compressor, name):
            return None
        found: float = compressor._score_of(
            getattr(compressor, name), X, y, **score_params
        )
        return found

    kept = compressor.history_[compressor.best_step_]
    direct = compressor.history_[0]
    rest = compressor.nbits_ - kept["nbits"]
    before = 8 * sum(code.dense().nbytes for code in compressor.theta_.values())
    return {
        "reference": Standing(
            score("reference_"), compressor.reference_loss_, before + rest
        ),
        "direct compression": Standing(
            score("direct_"), direct["loss"], direct["nbits"] + rest
        ),
        "LC": Standing(score("estimator_"), kept["loss"], compressor.nbits_),
    }, tuple(notes)
