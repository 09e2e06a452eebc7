"""Captioners: images in, captions out. One file a family."""

from capfilt.models.captioners.med import MedCaptioner

__all__ = ["MedCaptioner"]
