"""The inputs rebuilt from public bug reports, where the shared data lies beside the checkout: each is read right."""

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from capfilt.core.config import InputSettings
from capfilt.pipelines.plan import make_plan
from reading import read_all, texts

SCENES = (
    "a red barn beside a frozen pond", "two dogs run over wet sand", "an old bicycle leans on a wall",
    "a bowl of lemons on a table", "a child holds a yellow kite", "snow on the roof of a station",
)  # fmt: skip
"""What picture i shows; it is 120 + 4 i pixels wide, so that a text can be held against its picture."""

TEXTS = {
    "k12_nan": [0, 1, 0, 1, 0, 1],
    "k12_nancsv": [0, 1, 0, 1, 0, 1],
    "k13_b64jsonl": [1] * 6,
    "k13_dataurl": [1] * 6,
    "k14_dicts": [2] * 6,
    "k14_jsontxt": [1] * 6,
    "k14_llava": [1] * 6,
    "k14_manycols": [3] * 6,
    "k14_strlist": [2] * 6,
    "k16_prefix": [1] * 6,
    "k1_coco": [2] * 6,
    "k1_mapping": [2] * 6,
    "k22_nemo": [1] * 6,
    "k2_kaggle8k": [1] * 6,
    "k5_tsvnl": [1] * 6,
    "k6_spark": [1] * 6,
    "k8_dots": [1] * 6,
    "k9_gzname": [1] * 6,
    "k9_lists": [1] * 18,
    "k9_savetodisk": [1] * 6,
    "k9_targz": [1] * 12,
}
"""Texts of each row, in order; every row has its picture."""


def number_of(row: dict[str, Any]) -> int:
    return (Image.open(io.BytesIO(row["image"])).width - 120) // 4


@pytest.mark.parametrize("name", TEXTS)
def test_every_text_stands_with_its_own_picture(name: str, shared_data: Path) -> None:
    rows = read_all(shared_data / "field" / name)
    assert [len(row["texts"]) for row in rows] == TEXTS[name]
    for row in rows:
        assert row["reason"] is None
        assert all(SCENES[number_of(row)] in text["text"] or "says" in text["text"] for text in row["texts"])


@pytest.mark.parametrize("name", ["k4_pipeurl", "k2_urltxt", "k7_yfcc", "k21_types", "k1_sbu"])
def test_every_text_stands_with_its_own_url(name: str, shared_data: Path) -> None:
    rows = [row for row in read_all(shared_data / "field" / name) if row["url"]]
    assert len(rows) >= 6
    for row in rows:
        assert row["image"] is None
        assert row["url"].startswith("http://127.0.0.1:8899/")
        assert len(row["texts"]) == 1
        assert SCENES[int(row["url"][-5])] in row["texts"][0]["text"]


@pytest.mark.parametrize("name", ["k3_cp1252", "k3_utf16"])
def test_letters_are_right(name: str, shared_data: Path) -> None:
    found = texts(read_all(shared_data / "field" / name))
    assert found[0] == ["photo 0: café crème – “zwei Stück”"]  # noqa: RUF001
    assert found[3] == ["photo 3: a façade in Besançon"]


def test_what_cannot_be_paired_fails_with_the_reason(shared_data: Path) -> None:
    field = shared_data / "field"
    stereo = read_all(field / "k8_more")
    assert {row["reason"] for row in stereo} == {"bad_row"}
    several = read_all(field / "k19_dj")
    assert [row["reason"] for row in several] == ["bad_row", *[None] * 5]
    flickr = read_all(field / "k2_flickr30k")
    assert [row["reason"] for row in flickr].count("bad_row") == 1
    assert [len(found) for found in texts(flickr)] == [2, 2, 1, 0, 2, 2, 2]


@pytest.mark.parametrize("folder", ["field", "formats"])
def test_every_file_is_read_or_named(folder: str, shared_data: Path) -> None:
    for place in sorted((shared_data / folder).iterdir()):
        plan = make_plan([str(place)], InputSettings())
        read = {part.identity for chunk in plan.chunks for part in chunk.parts}
        inside = {
            name for chunk in plan.chunks for part in chunk.parts for name in part.to_json().split('"') if "." in name
        }
        for file in [path for path in place.rglob("*") if path.is_file()]:
            relative = str(file.relative_to(place))
            is_sidecar = any(name.endswith(f"/{file.name}") for name in inside)
            known = str(file.relative_to(place.parent)) in read or {relative, file.name} & inside or is_sidecar
            listed = any(file.suffix in (".jpg", ".jpeg") and identity != place.name for identity in read)
            assert known or listed or any(relative in note for note in plan.notes), file
