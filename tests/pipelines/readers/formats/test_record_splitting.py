"""Cutting a text file into records: pieces add up to the file, and a slice splits like the whole."""

import csv
import io
import json
from itertools import accumulate

from hypothesis import given, settings
from hypothesis import strategies as st

from capfilt.pipelines.readers.lists.records import Dialect, array_elements, csv_fields, csv_lines, lines, tsv_fields

WORDS = st.text(alphabet=st.sampled_from("ab\"',;\n \u00e9\t"), max_size=12)
TABS = Dialect("\t")
TABLE = st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=12)


@settings(deadline=None)
@given(TABLE)
def test_well_formed_csv_splits_as_the_standard_library_reads_it(table: list[tuple[str, str, str]]) -> None:
    out = io.StringIO(newline="")
    csv.writer(out).writerows(table)
    pieces = list(csv_lines(Dialect())(io.BytesIO(out.getvalue().encode())))
    assert [tuple(csv_fields(piece, Dialect())) for piece in pieces] == table


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b",", b'"', b"\n", b'",\n"']))
def test_any_bytes_split_and_slice(noise: bytes, more: bytes) -> None:
    content = more.join(noise[i : i + 3] for i in range(0, len(noise), 3))
    for split in (csv_lines(Dialect()), csv_lines(Dialect("\t")), csv_lines(Dialect(escape="\\")), lines):
        pieces = list(split(io.BytesIO(content)))
        assert b"".join(pieces) == content
        for end in accumulate(len(piece) for piece in pieces):
            head = list(split(io.BytesIO(content[:end])))
            assert head == pieces[: len(head)]


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=9), max_size=3), max_size=8), st.booleans())
def test_array_elements_add_up_to_the_array(objects: list[dict[str, str]], ascii_only: bool) -> None:
    content = json.dumps(objects, ensure_ascii=ascii_only, indent=1).encode("utf-8", "surrogatepass")
    pieces = list(array_elements(io.BytesIO(content)))
    assert b"".join(pieces) == content
    assert len(pieces) == len(objects) + 1


def test_tsv_quotes_count_only_where_all_is_well_quoted() -> None:
    assert tsv_fields(b'"a ""b"""\thttp://h\r\n', TABS) == ['a "b"', "http://h"]
    assert tsv_fields(b'"a" b\thttp://h\n', TABS) == ['"a" b', "http://h"]
    assert tsv_fields(b'"open\thttp://h\n', TABS) == ['"open', "http://h"]
