"""LLaVA: images as files, and conversations as one JSON array a form, as its trainer's `--data_path` takes it."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from capfilt.core.serialization import parquet_bytes
from capfilt.core.storage import Folder
from capfilt.pipelines.export.formats import ARRAY, ExportLayout, records, to_json, write_images
from capfilt.pipelines.export.instruct.prompts import Form, Turns
from capfilt.pipelines.export.instruct.writer import Writer
from capfilt.pipelines.training_data.talks import TALKS

IMAGE: Final = "<image>"
"""Stands for the image in what a person says."""

PARTS: Final = "parts"
TALKS_FILE: Final = "talks.parquet"

ASKED_AT_ONCE: Final = 256
"""Images whose instructions are kept together, so that no more is asked again after a failure."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LlavaFormat:
    """images/00000/UID.jpg, ...; llava.json (the best text, plain); and conversation.json, detail.json, reasoning.json.

    The talks of these stand in talks.parquet too, by uid, for `capfilt train llava-tune`.

    The trainer reads each JSON file at once, and so does what puts them together here.

    Args:
        forms: instruction forms to write.
        writer: who writes them; None where there are no forms.
    """

    forms: Sequence[Form] = ()
    writer: Writer | None = None
    layout: ExportLayout = field(
        default=ExportLayout(
            shard=f"{PARTS}/{{}}.jsonl",
            mime=ARRAY,
            reader="llava/train/train_mem.py --data_path {to}/llava.json --image_folder {to}/images --version plain",
            yaml=("configs:", "- config_name: default", "  data_files: llava.json"),
        )
    )

    def write(self, folder: Folder, name: str, rows: pa.Table) -> None:
        write_images(folder, f"images/{name}", rows)
        if self.writer:
            # A file per part: what a server was paid for is not asked again after a failure.
            for number, part in enumerate(rows.to_batches(max_chunksize=ASKED_AT_ONCE)):
                for form in self.forms:
                    self._instruct(folder, f"{PARTS}/{form}/{name}-{number:03d}.jsonl", form, self.writer, part)
        plain = (_sample(name, row, [("", row["text"])]) for row in records(rows))
        folder.write(self.layout.shard.format(name), _lines(plain))

    def finish(self, folder: Folder, shards: dict[str, int]) -> None:
        folder.write("llava.json", _array(_read(folder, map(self.layout.shard.format, shards))))
        failures: list[Json] = []
        rows: list[Json] = []
        for form in self.forms:
            written = list(_read(folder, folder.names(f"{PARTS}/{form}", ".jsonl")))
            failures += [sample for sample in written if "reason" in sample]
            talks = [sample for sample in written if "reason" not in sample]
            folder.write(f"{form}.json", _array(talks))
            rows += [_talk(form, sample) for sample in talks]
        if self.forms:
            folder.write("failures.json", _array(failures))
            folder.write(TALKS_FILE, parquet_bytes(pa.Table.from_pylist(rows, TALKS)))

    @staticmethod
    def _instruct(folder: Folder, name: str, form: Form, writer: Writer, rows: pa.RecordBatch) -> None:
        """Write a part, unless it is there: it cost something to make."""
        if folder.exists(name):
            return
        shard = name.rpartition("/")[2].partition("-")[0]
        asked = [row | {"image": {"path": row["image"]["path"]}} for row in rows.to_pylist()]
        found = zip(asked, writer.write(form, asked), strict=True)
        folder.write(name, _lines(_instruction(shard, row, form, turns) for row, turns in found))


def _instruction(shard: str, row: Json, form: Form, turns: Turns | str) -> Json:
    if isinstance(turns, str):
        return {"id": row["uid"], "form": form, "reason": turns}
    return _sample(shard, row, turns)


def _sample(shard: str, row: Json, turns: Turns) -> Json:
    """One image with its conversation; the image is shown in what the person says first."""
    said: list[Json] = []
    for number, (question, answer) in enumerate(turns):
        shown = (IMAGE, *([question] if question else ())) if number == 0 else (question,)
        said += [{"from": "human", "value": "\n".join(shown)}, {"from": "gpt", "value": answer}]
    return {"id": row["uid"], "image": f"{shard}/{row['image']['path']}", "conversations": said}


def _talk(form: Form, sample: Json) -> Json:
    """A conversation as a row of `TALKS`."""
    values = [said["value"] for said in sample["conversations"]]
    values[0] = values[0].removeprefix(f"{IMAGE}\n")
    turns = [{"question": ask, "answer": told} for ask, told in zip(values[::2], values[1::2], strict=True)]
    return {"uid": sample["id"], "form": form, "turns": turns}


def _lines(samples: Iterable[Json]) -> bytes:
    return b"".join(to_json(sample) + b"\n" for sample in samples)


def _read(folder: Folder, names: Iterable[str]) -> Iterator[Json]:
    return (json.loads(line) for name in names for line in folder.read(name).splitlines())


def _array(samples: Iterable[Json]) -> bytes:
    return b"[\n" + b",\n".join(map(to_json, samples)) + b"\n]\n"
