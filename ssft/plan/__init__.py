"""What a run would take, before it is made: hours, batches, minutes, memory, disk, and whether it can be made."""

from ssft.plan.figures import Plan
from ssft.plan.file import refuse_to_overwrite, write_plan
from ssft.plan.making import make_plan
from ssft.plan.words import in_words

__all__ = ["Plan", "in_words", "make_plan", "refuse_to_overwrite", "write_plan"]
