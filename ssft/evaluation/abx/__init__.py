"""ABX: is X closer to A, which is the same phone, word or speaker, than to B, which is another?"""

from ssft.evaluation.abx.design import Design, Features
from ssft.evaluation.abx.rates import abx, speaker_abx
from ssft.evaluation.abx.result import AbxResult
from ssft.evaluation.abx.task import Abx

__all__ = ["Abx", "AbxResult", "Design", "Features", "abx", "speaker_abx"]
