"""Blocks of memory without a name that two processes share."""

import os
import tempfile


def open_block(size: int) -> int:
    """A descriptor of so many zero bytes. Pages that nobody touches take no memory."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("capfilt")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.truncate(descriptor, size)
    return descriptor
