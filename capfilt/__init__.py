"""capfilt: turn noisy image-text pairs into a clean corpus (CapFilt of BLIP, as a service)."""

__version__ = "0.1.0"
