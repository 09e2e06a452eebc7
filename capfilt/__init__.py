"""capfilt: turn noisy image-text pairs into a clean corpus (CapFilt of BLIP, as a service)."""

from capfilt.core.version import __version__

__all__ = ["__version__"]
