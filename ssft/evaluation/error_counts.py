"""How many errors a recogniser makes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def count_errors(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """Return the fewest substitutions, deletions and insertions that make each reference the hypothesis, [N].

    Args:
        references: none of them empty, and without blanks inside of a symbol.
        hypotheses: the same, but they may be empty.

    Example:
        >>> count_errors([["a", "b", "c"]], [["b", "c", "d"]]).tolist()
        [2]
    """
    import jiwer

    said, recognised = ([" ".join(symbols) for symbols in texts] for texts in (references, hypotheses))
    alignments = jiwer.process_words(said, recognised).alignments
    return np.array(
        [
            sum(
                max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
                for chunk in chunks
                if chunk.type != "equal"
            )
            for chunks in alignments
        ],
        dtype=np.int64,
    )
