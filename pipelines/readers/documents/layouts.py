"""General ways to write a table as one JSON document."""

from collections.abc import Iterator
from typing import Any, ClassVar

from capfilt.pipelines.readers.documents.shape import DocumentShape, is_list_of_rows, is_row
from capfilt.pipelines.readers.lists.headerless import made_up_header
from capfilt.pipelines.readers.rows.columns import PATH_NAMES, URL_NAMES, Record, usual
from capfilt.pipelines.readers.rows.references import is_reference


class RowsInside(DocumentShape):
    about = (
        'rows under one key: RedCaps (`annotations`), pandas `orient="table"` (`data`), the datasets server (`rows`)'
    )
    example: ClassVar[Any] = {"info": {"version": 1}, "annotations": [{"url": "http://h/a.jpg", "caption": "a cat"}]}

    def fits(self, document: Any) -> bool:
        return isinstance(document, dict) and len(self._lists(document)) == 1

    def records(self, document: Any) -> Iterator[Record]:
        (rows,) = self._lists(document)
        for row in rows:
            yield row if isinstance(row, dict) else {}

    @staticmethod
    def _lists(document: dict[str, Any]) -> list[list[Any]]:
        found = []
        for value in document.values():
            if is_list_of_rows(value):
                found.append(value)
            elif (
                isinstance(value, list)
                and value
                and all(isinstance(one, dict) and is_row(one.get("row")) for one in value)
            ):
                found.append([one["row"] for one in value])
        return found


class ParallelLists(DocumentShape):
    about = 'one list a column, all of one length: SBU captions, pandas `orient="list"`'
    example: ClassVar[Any] = {"image_urls": ["http://h/a.jpg"], "captions": ["a cat"]}

    def fits(self, document: Any) -> bool:
        return isinstance(document, dict) and len(self._columns(document)) > 1

    def records(self, document: Any) -> Iterator[Record]:
        columns = self._columns(document)
        for values in zip(*columns.values(), strict=True):
            yield dict(zip(columns, values, strict=True))

    @staticmethod
    def _columns(document: dict[str, Any]) -> dict[str, list[Any]]:
        named = usual(document, URL_NAMES + PATH_NAMES)
        first = document[named[0]] if named else None
        length = len(first) if isinstance(first, list) and any(map(is_reference, first[:20])) else 0
        return {k: v for k, v in document.items() if isinstance(v, list) and length and len(v) == length}


class ColumnsOfRows(DocumentShape):
    about = 'one object a column, its keys the rows: pandas `orient="columns"`, the default of `to_json`'
    example: ClassVar[Any] = {"url": {"0": "http://h/a.jpg"}, "caption": {"0": "a cat"}}

    def fits(self, document: Any) -> bool:
        return is_row(document) and all(isinstance(value, dict) for value in document.values())

    def records(self, document: Any) -> Iterator[Record]:
        # Every row that any column has, in the order in which they are first met.
        for row in dict.fromkeys(row for column in document.values() for row in column):
            yield {name: column.get(row) for name, column in document.items()}


class SplitTable(DocumentShape):
    about = 'names of columns, and rows as lists: pandas `orient="split"`'
    example: ClassVar[Any] = {"columns": ["url", "caption"], "index": [0], "data": [["http://h/a.jpg", "a cat"]]}

    def fits(self, document: Any) -> bool:
        if not isinstance(document, dict):
            return False
        names, data = document.get("columns"), document.get("data")
        return isinstance(names, list) and isinstance(data, list) and all(isinstance(row, list) for row in data)

    def records(self, document: Any) -> Iterator[Record]:
        names = [str(name) for name in document["columns"]]
        for row in document["data"]:
            yield dict(zip(names, row, strict=False))


class ListOfLists(DocumentShape):
    about = 'rows as lists without names: pandas `orient="values"`'
    example: ClassVar[Any] = [["http://h/a.jpg", "a cat"]]

    def fits(self, document: Any) -> bool:
        if not (isinstance(document, list) and document and all(isinstance(row, list) for row in document)):
            return False
        return len({len(row) for row in document}) == 1 and any(map(is_reference, document[0]))

    def records(self, document: Any) -> Iterator[Record]:
        table = [["" if value is None else str(value) for value in row] for row in document[:100]]
        header = made_up_header(table)
        for row in document:
            yield dict(zip(header, row, strict=True))


class OneRow(DocumentShape):
    about = "one row alone"
    example: ClassVar[Any] = {"url": "http://h/a.jpg", "caption": "a cat"}

    def fits(self, document: Any) -> bool:
        named = usual(document, URL_NAMES + PATH_NAMES) if isinstance(document, dict) else []
        return any(isinstance(document[name], str) and is_reference(document[name]) for name in named)

    def records(self, document: Any) -> Iterator[Record]:
        yield document


class FileMap(DocumentShape):
    about = 'captions by file: `{"a.jpg": "a cat"}`, with lists or objects for values too'
    example: ClassVar[Any] = {"a.jpg": ["a cat", "a grey cat"], "b.jpg": "a dog"}

    def fits(self, document: Any) -> bool:
        return isinstance(document, dict) and bool(document) and all(map(is_reference, list(document)[:100]))

    def records(self, document: Any) -> Iterator[Record]:
        for name, value in document.items():
            where = {"url" if "://" in name else "file_name": name}
            yield where | (value if isinstance(value, dict) else {"captions": value})


class RowMap(DocumentShape):
    about = 'rows by any key: pandas `orient="index"`'
    example: ClassVar[Any] = {"0": {"url": "http://h/a.jpg", "caption": "a cat"}}

    def fits(self, document: Any) -> bool:
        return isinstance(document, dict) and bool(document) and all(map(is_row, document.values()))

    def records(self, document: Any) -> Iterator[Record]:
        yield from document.values()
