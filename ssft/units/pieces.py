"""Acoustic pieces: frequent sequences of units as units of their own, the labels of R-Spin's auxiliary loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssft.errors import DataError

# A private plane of Unicode, with room for 65,534 codes, in which no library sees letters, spaces or marks.
_FIRST = 0xF0000
_ROOM = 65_534


@dataclass(frozen=True, eq=False)
class Pieces:
    """Labels of frames, and what each stands for.

    Args:
        labels: the piece that every frame belongs to, [F] int64 by utterance.
        codes: the sequence of units that each piece stands for, none of them twice in a row.
    """

    labels: dict[str, NDArray[np.int64]]
    codes: tuple[tuple[int, ...], ...]


def acoustic_pieces(codes: Mapping[str, NDArray[np.integer]], *, vocabulary: int) -> Pieces:
    """Learn pieces from the units of a corpus, and label each frame with the piece that covers it.

    Units that repeat are merged, every utterance becomes a string with one character per unit, byte pair encoding
    learns the pieces of these strings, and a piece's label is copied to all frames that it covers. Pieces that no
    utterance needs in the end, because longer ones took their place, get no label.

    Args:
        codes: units of each utterance, [F] by id.
        vocabulary: how many pieces to learn, the single units included.

    Raises:
        DataError: a vocabulary smaller than the number of units that occur, or units beyond 65,533.

    Source:
        R-Spin (Chang and Glass, NAACL 2024): 40,000 pieces of 2,048 units, of which about half occur.

    Example:
        >>> pieces = acoustic_pieces({"a": np.array([5, 5, 2, 7, 5, 2]), "b": np.array([5, 2, 2])}, vocabulary=4)
        >>> pieces.labels["a"].tolist(), pieces.codes
        ([1, 1, 1, 0, 1, 1], ((7,), (5, 2)))
    """
    from tokenizers import Tokenizer, models, trainers

    merged = {name: _merge(own) for name, own in codes.items()}
    units = np.unique(np.concatenate([own for own, _ in merged.values()])) if merged else np.zeros(0, dtype=int)
    if not len(units):
        raise DataError("There are no units to make pieces of. Give at least one utterance.")
    if units[0] < 0 or units[-1] >= _ROOM:
        raise DataError(f"Units are 0 to {_ROOM - 1}, not {units[0] if units[0] < 0 else units[-1]}. Use fewer.")
    if vocabulary < len(units):
        raise DataError(
            f"{vocabulary:,} pieces are fewer than the {len(units):,} units that occur, each of which is a piece. "
            f"Ask for more than {len(units):,}."
        )
    strings = {name: "".join(chr(_FIRST + code) for code in own.tolist()) for name, (own, _) in merged.items()}
    tokenizer = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, show_progress=False, special_tokens=[])
    tokenizer.train_from_iterator(strings.values(), trainer)
    encoded = tokenizer.encode_batch(list(strings.values()))

    used = sorted({piece for own in encoded for piece in own.ids})
    label_of = np.zeros(tokenizer.get_vocab_size(), dtype=np.int64)
    label_of[used] = np.arange(len(used))
    labels = {}
    for (name, (_, frames)), own in zip(merged.items(), encoded, strict=True):
        units_of_piece = [len(token) for token in own.tokens]
        frames_of_piece = np.add.reduceat(frames, np.cumsum([0, *units_of_piece[:-1]]))
        labels[name] = np.repeat(label_of[own.ids], frames_of_piece)
    texts = [tokenizer.id_to_token(piece) or "" for piece in used]
    return Pieces(labels, tuple(tuple(ord(letter) - _FIRST for letter in text) for text in texts))


def _merge(codes: NDArray[np.integer]) -> tuple[NDArray[np.integer], NDArray[np.int64]]:
    """The codes without repetitions, and how many frames each of them covers."""
    starts = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]])
    return codes[starts], np.diff(np.r_[starts, len(codes)])
