"""`verdict`: whether it got better, in one sentence that claims no more than was shown."""

from __future__ import annotations

from collections.abc import Sequence

from ssft.evaluation.page import verdict as sentence
from ssft.evaluation.results import Record

_NOT_BETTER = {
    "**No difference shown**": "**Not better, as far as can be shown**",
    "**Worse**": "**Not better but worse**",
    "**Nothing can be said**": "**Not shown to be better**: nothing can be said",
}


def verdict(
    results: Record | None,
    adapted: str,
    *,
    label_free: Sequence[str] = (),
    unmeasured: str = "",
) -> str:
    """Return one sentence.

    Args:
        results: of `ssft.evaluation.results`, if there were labels.
        adapted: what the adapted encoder is called there.
        label_free: what was measured without labels, in words.
        unmeasured: why there are no results.

    Example:
        >>> verdict(None, "adapted", label_free=["effective rank 77.1 -> 68.2"], unmeasured="no labels")
        '**Not shown to be better**: no labels; without labels: effective rank 77.1 -> 68.2.'
    """
    if results is not None and results["base"] in results["systems"]:
        said = sentence(results, adapted)
        for word, ours in _NOT_BETTER.items():
            said = said.replace(word, ours)
        return said
    why = "; ".join(line.strip().rstrip(".") for line in unmeasured.splitlines())
    if results is None and not label_free:
        return f"**Nothing was measured**, so nothing can be said: {why}."
    found = f"; without labels: {'; '.join(label_free)}" if label_free else ""
    return f"**Not shown to be better**: {why or 'there is no base to compare with'}{found}."
