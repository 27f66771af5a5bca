"""What `ssft doctor` looks at: whether this machine has all that ssft needs, and what to do where it has not."""

from ssft.doctor.examination import TITLES, examine
from ssft.doctor.finding import Finding, Section

__all__ = ["TITLES", "Finding", "Section", "examine"]
