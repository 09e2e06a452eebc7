"""URLs to bytes, or to the reason why not: `download` is all that the fetch stage needs."""

from capfilt.pipelines.download.failure import Failure
from capfilt.pipelines.download.pool import download

__all__ = ["Failure", "download"]
