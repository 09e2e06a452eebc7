"""What a look at inputs finds: files by kind, choices and their reasons, rows, and rows picked from all over."""

import bz2
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from capfilt.core.chunks import Part
from capfilt.core.config import InputSettings
from capfilt.core.errors import InputError
from capfilt.pipelines.plan import make_plan
from capfilt.preview import survey as module
from capfilt.preview.survey import Survey, spread, survey
from reading import picture, write_tar


def look(*inputs: Path, picks: int = 10, limit: int | None = None, **settings: object) -> Survey:
    return survey([str(one) for one in inputs], InputSettings.model_validate(settings), picks, limit=limit)


def chosen(found: Survey) -> dict[str, tuple[str, str]]:
    """Of inputs whose files are all alike: what was chosen -> value, why."""
    (alike,) = found.alike
    return {choice.what: (choice.value, choice.why) for choice in alike.choices}


def urls(count: int) -> str:
    return "".join(f"http://h/{n}.jpg\ta thing, number {n}\n" for n in range(count))


def test_a_table_without_a_header_says_which_column_is_what_and_why(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text(urls(40))
    found = chosen(look(tmp_path / "a.tsv"))
    assert found["header"] == ("no", "its first line holds a URL or path")
    assert found["url"] == ("column 1 of 2", "most URLs")
    assert found["text"][0] == "column 2 of 2"
    assert found["encoding"] == ("utf-8", "all of its bytes are valid")


def test_encoding_and_dialect_are_told_as_they_were_sniffed(tmp_path: Path) -> None:
    rows = "".join(f"http://h/{n}.jpg;une fenêtre près du café, où l'été dure, {n}\n" for n in range(40))
    (tmp_path / "a.csv").write_bytes(f"url;caption\n{rows}".encode("cp1252"))
    found = chosen(look(tmp_path / "a.csv"))
    assert found["encoding"][1] == "told by its bytes"
    assert found["delimiter"] == ("semicolon", "fits most lines")
    assert found["url or path"] == ("url", "a usual name")
    assert found["text"] == ("caption", "a usual name")


def test_what_the_recipe_names_is_told_as_the_recipes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("where,said,more\nhttp://h/1.jpg,a cat,x\n")
    found = chosen(look(tmp_path / "a.csv", url="where", text="said", delimiter=",", encoding="utf-8", header="yes"))
    reasons = {what: why for what, (_, why) in found.items()}
    assert reasons["url or path"] == "input.url"
    assert [reasons[name] for name in ("text", "delimiter", "encoding", "header")] == [
        "input.text",
        "input.delimiter",
        "input.encoding",
        "input.header",
    ]
    assert found["not read"][0] == "more"


def test_a_column_of_images_is_told_apart_from_one_of_hashes(tmp_path: Path) -> None:
    table = pa.table({"url": ["http://h/1.jpg"], "md5": [b"0123456789abcdef"], "text": ["a cat"]})
    pq.write_table(table, tmp_path / "a.parquet")
    pq.write_table(table.append_column("image", pa.array([picture(1)])), tmp_path / "b.parquet")
    assert "image" not in chosen(look(tmp_path / "a.parquet"))
    found = chosen(look(tmp_path / "b.parquet"))
    assert found["image"] == ("image", "its first rows hold images")
    assert found["not read"][0] == "md5"


def test_a_shard_and_a_folder_say_where_their_texts_stand(tmp_path: Path) -> None:
    members = [
        (f"{n}.{kind}", data) for n in range(3) for kind, data in (("png", picture(n)), ("json", b'{"alt": "x"}'))
    ]
    shard = write_tar(tmp_path / "0.tar", members)
    assert chosen(look(shard))["text"] == ("alt in .json", "beside the image, of its name; in 3 of 3")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.png").write_bytes(picture(0))
    (folder / "b.png").write_bytes(picture(1))
    (folder / "b.txt").write_text("a blue field")
    found = chosen(look(folder))
    assert found["image"] == (".png (2)", "files of images that no list names")
    assert found["text"][1].endswith("in 1 of 2")


def test_a_document_says_its_shape_and_where_its_images_are(tmp_path: Path) -> None:
    (tmp_path / "val2017").mkdir()
    (tmp_path / "val2017" / "7.png").write_bytes(picture(7))
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "captions.json").write_text(
        '{"images": [{"id": 7, "file_name": "7.png"}], "annotations": [{"image_id": 7, "caption": "a cat"}]}'
    )
    found = chosen(look(tmp_path))
    assert found["shape"][0].startswith("COCO captions")
    assert found["images"][0] == "../val2017/"


def test_files_are_counted_by_kind_and_what_is_not_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text(urls(20))
    (tmp_path / "b.tsv").write_text(urls(21))
    (tmp_path / "c.png").write_bytes(picture(0))
    (tmp_path / "notes.csv").write_text("day,weather\nmonday,rain\n")
    (tmp_path / "cut.jsonl.bz2").write_bytes(bz2.compress(b'{"url": "http://h/1.jpg", "text": "x"}\n' * 40_000)[:-20])
    found = look(tmp_path)
    kinds = {kind.reader: (kind.files, kind.rows) for kind in found.kinds}
    assert kinds["folder"] == (1, 1)
    assert kinds["lists"][0] == 3
    assert found.rows == make_plan([str(tmp_path)], InputSettings()).rows
    assert found.is_exact
    assert "notes.csv" in " ".join(found.left_out)
    assert "cut.jsonl.bz2" in " ".join(found.damaged)


def test_the_rows_of_many_files_are_estimated_from_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COUNTED", 4)
    for number in range(12):
        (tmp_path / f"{number:02d}.tsv").write_text(urls(100 + number))
    found = look(tmp_path)
    (kind,) = found.kinds
    assert (kind.files, kind.counted, found.is_exact) == (12, 4, False)
    assert found.rows == pytest.approx(sum(100 + number for number in range(12)), rel=0.05)
    assert {part.identity[-6:] for part in found.picked} <= {"00.tsv", "03.tsv", "07.tsv", "11.tsv"}


def test_picked_rows_come_from_all_over_and_are_the_same_each_time(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text(urls(2000))
    found = look(tmp_path / "a.tsv", picks=100)
    assert sum(part.rows for part in found.picked) == 100
    starts = [part.start for part in found.picked]
    assert starts == sorted(starts)
    assert len([start for start in starts if start < 1000]) in range(35, 66)
    assert look(tmp_path / "a.tsv", picks=100).picked == found.picked


def test_an_input_smaller_than_the_sample_is_picked_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text(urls(37))
    assert sum(part.rows for part in look(tmp_path / "a.tsv", picks=100).picked) == 37


def test_a_limit_is_the_limit_of_a_run(tmp_path: Path) -> None:
    for name in ("a.tsv", "b.tsv"):
        (tmp_path / name).write_text(urls(30))
    found = look(tmp_path, limit=40)
    assert found.rows == 40
    assert sum(part.rows for part in found.picked if part.identity.endswith("b.tsv")) <= 10


def test_inputs_that_a_run_refuses_are_refused_here(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("")
    with pytest.raises(InputError, match="it has no rows"):
        look(tmp_path / "a.tsv")


def test_spread_takes_rows_evenly() -> None:
    parts = [Part("lists", "f", "f", 16 * number, 16, {"bytes": 1600}) for number in range(5)]
    assert [part.rows for part in spread(parts, 10)] == [2] * 5
    assert [part.start for part in spread(parts, 2)] == [0, 32]
    assert [part.where["bytes"] for part in spread(parts, 10)] == [200] * 5
