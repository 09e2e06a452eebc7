"""Judges: an image and its texts in, a score a text out. One file a family."""

from capfilt.models.judges.med import MedJudge

__all__ = ["MedJudge"]
