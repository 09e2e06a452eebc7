"""Symbolic links: inside an input folder they are the owner's, out of it they are refused."""

import os
import posixpath


def real_root(folder: str) -> str:
    """The folder without links, which nothing in it may leave.

    A snapshot of a Hugging Face cache is all links into `blobs` beside it, so there the whole repository counts.
    """
    real = os.path.realpath(folder)
    repository, mark, _ = (real + "/").rpartition("/snapshots/")
    is_cache = bool(mark) and os.path.isdir(posixpath.join(repository, "blobs"))
    return repository if is_cache else real


def is_inside(path: str, real_root: str) -> bool:
    """Whether a local path is under a folder (given without links) once all links are followed."""
    real = os.path.realpath(path)
    return real == real_root or real.startswith(real_root.rstrip("/") + "/")
