"""Labelled corpora from disk: tables, descriptions, LibriSpeech and QUESST 2014."""

from ssft.evaluation.corpora.description import Description, read_description
from ssft.evaluation.corpora.opening import open_corpus

__all__ = ["Description", "open_corpus", "read_description"]
