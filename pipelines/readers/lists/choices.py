"""What was chosen in a text list, and why: its layout, encoding, dialect and columns."""

from typing import Final

from capfilt.core import config
from capfilt.pipelines.readers.lists.detect import encoding_at
from capfilt.pipelines.readers.lists.headerless import YFCC
from capfilt.pipelines.readers.lists.layout import Layout
from capfilt.pipelines.readers.rows.choices import Choice, column_choices

_LAYOUTS: Final = {
    "csv": "a table",
    "tsv": "a table",
    "jsonl": "one JSON object a line",
    "json": "a JSON array of objects",
    "txt": "one URL or path a line",
}
_MARKS: Final = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar", "\x01": "^A"}


def list_choices(layout: Layout, location: str, settings: config.InputSettings) -> list[Choice]:
    """The choices of a list, those that a column hangs on first."""
    found = [Choice("layout", _LAYOUTS[layout.kind], "its name and first lines"), encoding_choice(location, settings)]
    if layout.kind == "txt":
        return found
    if layout.kind in ("csv", "tsv"):
        found += _dialect(layout, settings)
    if layout.header and not layout.begin:
        return found + _made_up(layout)
    return found + column_choices(layout.header or layout.keys, layout.names)


def encoding_choice(location: str, settings: config.InputSettings) -> Choice:
    """The encoding of a text file; raises as `encoding_at`."""
    encoding = encoding_at(location, settings)
    if settings.encoding != "auto":
        return Choice("encoding", encoding, "input.encoding")
    return Choice("encoding", encoding or "utf-8", "told by its bytes" if encoding else "all of its bytes are valid")


def _dialect(layout: Layout, settings: config.InputSettings) -> list[Choice]:
    dialect, is_named = layout.dialect, settings.header != "auto"
    mark = _MARKS.get(dialect.delimiter, dialect.delimiter)
    found = [Choice("delimiter", mark, "input.delimiter" if settings.delimiter != "auto" else "fits most lines")]
    if dialect.quote != '"' or settings.quote != "auto":
        why = "input.quote" if settings.quote != "auto" else "quotes do not pair up"
        found.append(Choice("quote", dialect.quote or "none", why))
    if dialect.escape:
        found.append(Choice("escape", dialect.escape, "stands before quotes"))
    why = "its first line names columns" if layout.begin else "its first line holds a URL or path"
    return [*found, Choice("header", "yes" if layout.begin else "no", "input.header" if is_named else why)]


def _made_up(layout: Layout) -> list[Choice]:
    """Columns by number, from 1: nothing in the file names them."""
    header, is_yfcc = layout.header, layout.header[-len(YFCC) :] == YFCC
    if is_yfcc:
        return column_choices(header, layout.names, None)
    found = []
    for name, why in (("url", "most URLs"), ("path", "most paths of images"), ("text", "longest of the others")):
        if name in header:
            found.append(Choice(name, f"column {header.index(name) + 1} of {len(header)}", why))
    return found
