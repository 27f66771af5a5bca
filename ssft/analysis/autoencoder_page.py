"""Profiles of autoencoder behaviour as a page of Markdown, as plain values and as panels of a figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ssft.analysis.autoencoder import Profile
from ssft.analysis.fold_back import FoldBack, Recommendation
from ssft.analysis.held_out import Estimate
from ssft.analysis.pictures import Panel
from ssft.evaluation.page import table


def to_markdown(
    profiles: Sequence[Profile], recommendation: Recommendation, *, corpus: str, notes: Sequence[str] = ()
) -> str:
    """Return the page of a model and, if there are two profiles, of its base."""
    model, *bases = profiles
    parts = [f"# Autoencoder behaviour of {model.name} on {corpus}", advice(recommendation)]
    parts.append("![similarity by layer](autoencoder.png)")
    for profile in profiles:
        parts.append(f"## {profile.name}: what can be read from each layer")
        parts.append("PWCCA on held-out utterances, weighted by the target, with the half width of a 95 % interval.")
        parts.append(
            _by_layer(profile, {t: {n: _plus_minus(e) for n, e in c.items()} for t, c in profile.pwcca.items()})
        )
        parts.append("Linear CKA: what varies most in the layer, and in the target.")
        parts.append(_by_layer(profile, {t: {n: f"{v:.3f}" for n, v in c.items()} for t, c in profile.cka.items()}))
        parts.append(_turns(profile.fold_backs()))
    parts += [_changes(model, base) for base in bases]
    basis = [
        f"{target}: {count:,} {'words' if target == 'words' else 'frames'}" for target, count in model.counts.items()
    ]
    basis += [f"no {target}: {why}" for target, why in model.missing.items()]
    parts += ["## What this stands on", "\n".join(f"- {line}" for line in (*basis, *notes))]
    return "\n\n".join(parts) + "\n"


def advice(recommendation: Recommendation) -> str:
    """Return the evidence, and what to type."""
    return f"{recommendation.evidence}\n\n    {recommendation.settings}"


def record_of(profile: Profile) -> dict[str, Any]:
    """Return a profile as plain values for JSON."""
    return {
        "layers": profile.layers,
        "pwcca": {
            target: {str(layer): _estimate(own) for layer, own in curve.items()}
            for target, curve in profile.pwcca.items()
        },
        "cka": {target: {str(layer): own for layer, own in curve.items()} for target, curve in profile.cka.items()},
        "counts": dict(profile.counts),
        "missing": dict(profile.missing),
        "fold_backs": {
            target: {
                "layer": turn.layer,
                "change_before": _estimate(turn.before),
                "change_after": _estimate(turn.after),
                "is_shown": turn.is_shown,
            }
            for target, turn in profile.fold_backs().items()
        },
    }


def panels(profiles: Sequence[Profile]) -> list[Panel]:
    """Return a panel for each target, with both similarities of one system or of two."""
    several = len(profiles) > 1
    found = []
    for target in profiles[0].pwcca:
        curves: dict[str, dict[int, float | None]] = {}
        errors: dict[str, dict[int, float]] = {}
        for profile in profiles:
            of = f" of {profile.name}" if several else ""
            if target in profile.pwcca:
                curves[f"PWCCA{of}"] = {layer: own.mean for layer, own in profile.pwcca[target].items()}
                errors[f"PWCCA{of}"] = {layer: own.half_width for layer, own in profile.pwcca[target].items()}
                curves[f"linear CKA{of}"] = dict(profile.cka[target])
        found.append(Panel(f"similarity to {target}", curves, errors=errors))
    return found


def _by_layer(profile: Profile, cells: dict[str, dict[int, str]]) -> str:
    rows = [[str(layer), *(cells[target][layer] for target in cells)] for layer in profile.layers]
    return table(["layer", *cells], rows)


def _turns(turns: dict[str, FoldBack]) -> str:
    rows = [
        [
            target,
            "fall, then rise" if turn.rises else "rise, then fall",
            str(turn.layer),
            _plus_minus(turn.before),
            _plus_minus(turn.after),
            "-" if turn.share is None else f"{turn.share:.0%}",
            "shown" if turn.is_shown else "not shown",
        ]
        for target, turn in turns.items()
    ]
    return table(
        ["similarity to", "looked for", "turns at layer", "until there", "from there to the last", "share", ""], rows
    )


def _changes(model: Profile, base: Profile) -> str:
    """How similarity of the last layer, and the fold-back, differ from those of the base."""
    turns, before = model.fold_backs(), base.fold_backs()
    rows = []
    for target in model.pwcca:
        if target not in base.pwcca:
            continue
        last = model.pwcca[target][model.layers[-1]] - base.pwcca[target][base.layers[-1]]
        turn = turns[target].after - before[target].after if target in turns else None
        rows.append([target, _signed(last), _signed(turn) if turn else "-"])
    text = table(["similarity to", "last layer", "change from the turn to the last layer"], rows)
    return f"## {model.name} minus {base.name}\n\n{text}"


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return {"value": estimate.mean, "low": estimate.low, "high": estimate.high, "folds": list(estimate.folds)}


def _plus_minus(estimate: Estimate) -> str:
    return f"{estimate.mean:.3f} ± {estimate.half_width:.3f}"


def _signed(estimate: Estimate) -> str:
    return f"{estimate.mean:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]"
