"""What a checkpoint makes the libraries, or the code that reads its settings, raise is one line for people."""

from collections.abc import Iterator
from contextlib import contextmanager

from capfilt.core.errors import CapfiltError, ModelError


@contextmanager
def refused_in_a_line(name: str, passes: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Whatever a checkpoint makes them raise becomes a `ModelError`; what each raises cannot be listed.

    Args:
        passes: what is raised as it is, such as OSError where files are written too.
    """
    try:
        yield
    except Exception as error:
        # OutOfMemoryError is torch's: of a device that another process may leave soon.
        if isinstance(error, (CapfiltError, *passes)) or type(error).__name__ == "OutOfMemoryError":
            raise
        said = (str(error).strip().splitlines() or [""])[0][:300]
        raise ModelError(f"model {name!r} cannot be loaded: {type(error).__name__}: {said}") from error
