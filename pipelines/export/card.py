"""The card of a data set: README.md, with a head that the Hugging Face Hub reads."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from capfilt.pipelines.export.formats import ExportLayout

# The hub's own `size_categories`; a card with other words is refused there.
_SIZES: Final = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """What a card tells. Nothing of it says where the run or its inputs lie."""

    name: str
    version: str  # of capfilt
    date: str  # of the run's last session, YYYY-MM-DD; "" where none is known
    layout: ExportLayout
    images: int
    texts: dict[str, int]  # kept, by source
    dropped: dict[str, int]  # texts, by source
    failures: dict[str, int]  # rows that became no image, by reason
    models: dict[str, str]  # role and name -> digest
    policy: str
    parameters: dict[str, Any]
    judges: tuple[str, ...]
    shards: dict[str, int]  # name -> images


def card(facts: DatasetFacts) -> bytes:
    """README.md."""
    return "\n".join([*_head(facts), "", *_body(facts), ""]).encode()


def description(facts: DatasetFacts) -> str:
    """What the data set is, in a sentence or two."""
    texts = ", ".join(f"{count} {source}" for source, count in facts.texts.items())
    return (
        f"{facts.images} images with {sum(facts.texts.values())} texts ({texts}), cleaned with capfilt:"
        " a captioner wrote texts, a filter judged all of them, and a policy chose."
    )


def _head(facts: DatasetFacts) -> Iterator[str]:
    yield "---"
    yield f"pretty_name: {json.dumps(facts.name)}"
    yield "license: unknown"
    yield from ("task_categories:", "- image-to-text", "- text-to-image")
    yield f"size_categories:\n- {next((name for most, name in _SIZES if facts.images < most), 'n>1M')}"
    yield from ("tags:", "- capfilt", "- image-text-pairs")
    yield from facts.layout.yaml
    yield "---"


def _body(facts: DatasetFacts) -> Iterator[str]:
    yield f"# {facts.name}\n\n{description(facts)}\n"
    yield f"## How to read it\n\n```\n{_reader(facts)}\n```\n"
    yield "## How it was made\n"
    for role, digest in facts.models.items():
        yield f"- {role}, weights `{digest[:12]}`"
    settings = ", ".join(f"{key} = {json.dumps(value)}" for key, value in facts.parameters.items())
    yield f"- policy `{facts.policy}`: {settings}"
    yield f"- capfilt {facts.version}{f', {facts.date}' if facts.date else ''}\n"
    yield "| texts | kept | dropped |\n|---|---|---|"
    for source in sorted(facts.texts.keys() | facts.dropped.keys()):
        yield f"| {source} | {facts.texts.get(source, 0)} | {facts.dropped.get(source, 0)} |"
    if facts.failures:
        yield "\n| rows that became no image | count |\n|---|---|"
        yield from (f"| {reason} | {count} |" for reason, count in facts.failures.items())
    yield from _fields(facts)
    yield from _rights()


def _fields(facts: DatasetFacts) -> Iterator[str]:
    scores = f" and the scores {', '.join(f'`{name}`' for name in facts.judges)}" if facts.judges else ""
    yield "\n## Fields\n"
    yield "- `uid`: 32 hex digits, the same for the same input row in every run"
    yield "- `text`: the best kept text"
    yield f"- `captions`: all kept texts, best first, each with `source` (web, human, synthetic), `candidate`{scores}"
    yield "- `width`, `height`: in pixels, after EXIF orientation"
    yield "- `url`: where the image was found, if anywhere; `sha256`: of the bytes that were found there"
    yield "- the image: the pixels that captioner and judges saw. Images that programs decode in different ways (turned"
    yield "  by EXIF, transparent, 16 bits, CMYK, animated, other formats than JPEG, PNG and WebP) are re-encoded\n"


def _rights() -> Iterator[str]:
    yield "## Rights and limits\n"
    yield "The images and the web texts belong to whoever made them; their licenses are not known and were not checked."
    yield "Synthetic texts were written by a model, and a filter that errs let some wrong texts pass."
    yield "People and private matters may be shown. Whoever wants an image out can name its `url` or `sha256`:"
    yield "`capfilt forget` takes it out of the run, and the next export is without it."


def _reader(facts: DatasetFacts) -> str:
    # LAST: whoever reads shards of webdataset has to say which is the last.
    return facts.layout.reader.format(to=facts.name).replace("LAST", max(facts.shards))
