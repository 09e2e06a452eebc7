"""What a shape is: it knows a document by its structure, and gives its records."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

from capfilt.pipelines.readers.rows.columns import PATH_NAMES, URL_NAMES, Record, usual


class DocumentShape(ABC):
    """One way to write many rows into one JSON document. To add one, name its class in `SHAPES`."""

    about: ClassVar[str]  # what is written so, for people; a line
    example: ClassVar[Any]  # a document of this shape

    @abstractmethod
    def fits(self, document: Any) -> bool:
        """Whether a document has this shape; the first one that fits reads it."""

    @abstractmethod
    def records(self, document: Any) -> Iterator[Record]:
        """One record an image, with the usual names of columns.

        Raises:
            NothingToRead: it has this shape, but holds no texts or no images.
        """


def is_row(value: Any) -> bool:
    """Whether a value is an object with a usual name for a URL or a path, and nothing nested there."""
    return isinstance(value, dict) and bool(usual(value, URL_NAMES + PATH_NAMES))


def is_list_of_rows(value: Any) -> bool:
    """Whether a value is a list of such objects, by its first elements."""
    return isinstance(value, list) and bool(value) and all(is_row(one) for one in value[:20])
