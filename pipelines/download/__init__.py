"""URLs to bytes, or to the reason why not: `download` is all that the fetch stage needs."""

from capfilt.pipelines.download.byte_budget import Downloaded
from capfilt.pipelines.download.failure import DownloadError
from capfilt.pipelines.download.pool import download

__all__ = ["DownloadError", "Downloaded", "download"]
