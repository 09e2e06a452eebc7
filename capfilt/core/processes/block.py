"""Blocks of memory without a name that two processes share."""

import os
import tempfile


def open_block(size: int) -> int:
    """A descriptor of so many zero bytes. Pages that nobody touches take no memory."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("capfilt")
    else:
        # macOS has no memfd; a deleted file serves, and the system keeps its pages in memory where it can.
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.truncate(descriptor, size)
    return descriptor
