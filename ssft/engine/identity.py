"""What a run stands on: it must be unchanged when the run is resumed or exported."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from ssft.data.targets import Targets
from ssft.data.utterances import Utterances
from ssft.types import Utterance


def corpus_identity(utterances: Sequence[Utterance]) -> dict[str, Any]:
    """Return how much audio there is, and a fingerprint of it."""
    table = Utterances.of(utterances)
    return {"fingerprint": table.fingerprint, "utterances": len(table), "hours": round(table.hours, 6)}


def labels_identity(targets: Targets | None) -> str | None:
    """Return a hash of all labels and of whose they are."""
    if targets is None:
        return None
    digest = hashlib.sha256(targets.flat.tobytes())
    digest.update(repr(sorted(targets.ranges.items())).encode())
    return digest.hexdigest()
