"""select: a policy decides over all captions; decisions/ and corpus/, one file a chunk, are what came of it.

selection.toml              how it was made; away while decisions/ and corpus/ are being written
selections/NAME.toml        the same of a selection that was given a name, and
selections/NAME/decisions/  its decisions, so that it becomes the current one again without deciding anew
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import pyarrow as pa

from capfilt.core import config, schema
from capfilt.core.errors import ConfigError, IntegrityError
from capfilt.core.serialization import parquet_bytes, to_toml
from capfilt.core.storage import Folder
from capfilt.core.tables import opened
from capfilt.core.version import __version__
from capfilt.ledger.joined import CaptionsReader, States, captions_schema
from capfilt.ledger.layers_of_run import fingerprints, layer_states
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.recipes import load as recipes
from capfilt.pipelines.selection.ahead import ahead
from capfilt.pipelines.selection.corpus import Images, corpus_table, read_images
from capfilt.pipelines.selection.decide import VERDICT, decide
from capfilt.pipelines.selection.diff import ANY, Diff, compare, moves
from capfilt.pipelines.selection.policy import Policy, read_policy
from capfilt.pipelines.selection.scores import judge_columns, knots_digest, mix_digest
from capfilt.pipelines.stages.commit import table_bytes

WRITERS: Final[dict[Images, int]] = {"reference": 4, "bytes": 2}
"""Chunks in work at once: much of the time goes into waiting for the disk, but images take room."""

NO_LAYERS: Final[dict[str, str]] = {}
"""`layers` of a selection that an older version made."""

Rows = tuple[str, pa.Table]
"""A chunk's name, and what was decided of its captions (`VERDICT`)."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What a selection came to."""

    kept: dict[str, int]  # texts by source
    dropped: dict[str, int]  # texts by source
    images: int  # with at least one kept text: the rows of corpus/
    expected_wrong: dict[str, float] = field(default_factory=dict)  # by source, see `Diff.expected_wrong`


def select(
    folder: Folder,
    settings: config.SelectSettings,
    images: Images = "bytes",
    *,
    name: str = "",
    dry_run: bool = False,
    diff: Diff | None = None,
) -> Selection:
    """Decide every candidate of the committed chunks, and make that the current selection.

    Does nothing when just this selection is there already. The same commits and settings give the same bytes. Files
    that would not change are not written: a chunk whose kept texts stay the same keeps its file in corpus/.

    Args:
        images: `reference` leaves `image.bytes` empty in corpus/; they stand in images/ under the same uid.
        name: keep the decisions under this name too; if they are there, made of the same, they are not made again.
        dry_run: write nothing.
        diff: is told what changes; stays empty where nothing is done.

    Raises:
        ConfigError: no such policy or score, a policy that does not decide every candidate once, or an odd name.
        IntegrityError: the committed files do not fit together.
    """
    ledger, policy = Ledger(folder), read_policy(settings.policy)
    records = ledger.records()
    states = layer_states(ledger, records)
    made_of = _made_of(ledger, records, states, policy, settings)
    old, new = ledger.selection(), {**made_of, "images": images, "name": check_name(name)}
    chunks = records["chunk"].to_pylist()
    is_named = bool(name) and _stands(folder, chunks, ledger.selection(name), made_of, f"selections/{name}/decisions")
    if (is_named or not name) and _stands(folder, chunks, old, new, "decisions", "corpus"):
        return Selection(**old["result"])
    write = _Writer.at(ledger, old, new, "" if is_named else name)
    total = Diff() if diff is None else diff
    decided = _named(ledger, chunks, name) if is_named else decide(ledger, chunks, policy, settings, states)
    with decided as verdicts:
        if not dry_run:
            write.begin()
        work = _captioned(ledger, states, write.preview if dry_run else write.chunk)
        with ThreadPoolExecutor(WRITERS[images]) as pool:
            for part in ahead(pool, lambda rows: work(*rows), _chunks(records, states, verdicts), WRITERS[images]):
                total.add(part)
    result = _result(total)
    if not dry_run:
        write.end(made_of, new, result)
    return result


def reselect(ledger: Ledger, recipe: config.Recipe) -> Selection:
    """Decide again with the settings of the current selection; where there is none, with those of the recipe."""
    made = ledger.selection()
    settings = config.SelectSettings(policy=made["policy"], **made["parameters"]) if made else recipe.select
    images = made.get("images", recipe.output.images)
    return select(ledger.folder, settings, images, name=made.get("name", ""))


def check_name(name: str) -> str:
    """The name itself.

    Raises:
        ConfigError: it cannot be the name of a folder everywhere.
    """
    if name and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
        raise ConfigError(f"--name {name!r}: must be 1 to 64 letters, digits, - or _, starting with a letter or digit")
    return name


def settings_for(
    ledger: Ledger, recipe: str | None = None, overrides: Sequence[str] = (), name: str = ""
) -> config.SelectSettings:
    """The settings to select with: of the recipe; without one, of the selection of that name, or else of the run.

    Raises:
        ConfigError: an unknown recipe, setting or impossible value, or a setting that is not of [select].
        InputError: there is no run here.
    """
    run = ledger.run["recipe"]
    for override in overrides:
        if not override.strip().startswith("select."):
            raise ConfigError(f"--set {override!r}: only settings of [select] can change, e.g. select.threshold=0.6")
    if recipe is not None:
        return recipes.load_recipe(recipe, tuple(overrides)).select
    made = ledger.selection(check_name(name)) if name else {}
    base = {"policy": made["policy"], **made["parameters"]} if made else run["select"]
    origin = f"{ledger.folder.location}/{f'selections/{name}' if made else 'run'}.toml"
    return recipes.make_recipe({"select": dict(base)}, tuple(overrides), origin).select


def _made_of(
    ledger: Ledger, records: pa.Table, states: States, policy: Policy, settings: config.SelectSettings
) -> dict[str, Any]:
    """All that decides what is decided."""
    made = {
        "capfilt": __version__,
        "policy": policy.name,
        "sha256": policy.digest,
        "probabilities": knots_digest(ledger.folder) if settings.calibrated else "",
        "parameters": settings.model_dump(mode="json", exclude={"policy"}),
        "commits": ledger.fingerprint(records),
        "layers": fingerprints(states),
    }
    if mix := mix_digest(ledger.folder, policy.sql, settings):
        made["mix"] = mix  # only then: selections that read none stand as they are when one is fitted
    return made


def _stands(folder: Folder, chunks: Sequence[str], made: dict[str, Any], wanted: dict[str, Any], *tables: str) -> bool:
    """Whether a selection was made of what is wanted, and no file of these tables is missing."""
    files = {name for table in tables for name in folder.names(table, ".parquet")}
    whole = {f"{table}/{chunk}.parquet" for table in tables for chunk in chunks} <= files
    return whole and wanted == {key: made.get(key, NO_LAYERS if key == "layers" else None) for key in wanted}


@contextmanager
def _named(ledger: Ledger, chunks: Sequence[str], name: str) -> Iterator[Iterable[pa.RecordBatch]]:
    """What `decide` gave when the selection of that name was made."""
    decisions = ledger.dataset(f"selections/{name}/decisions", schema.DECISIONS, chunks)
    yield decisions.to_batches(columns=VERDICT.names)


def _chunks(records: pa.Table, states: States, verdicts: Iterable[pa.RecordBatch]) -> Iterator[Rows]:
    sizes = dict(zip(records["chunk"].to_pylist(), records["captions"].to_pylist(), strict=True))
    for state in states:
        if state.layer.subject == "captions":
            for chunk, record in state.standing.items():
                sizes[chunk] += record["rows"]
    return zip(sizes, _cut(verdicts, list(sizes.values())), strict=True)


def _cut(verdicts: Iterable[pa.RecordBatch], sizes: Sequence[int]) -> Iterator[pa.Table]:
    """Tables of these numbers of rows, which must come out even."""
    rest, more = VERDICT.empty_table(), iter(verdicts)
    for size in sizes:
        while rest.num_rows < size:
            batch = next(more, None)
            if batch is None:
                raise IntegrityError("captions/ holds fewer candidates than were committed")
            rest = pa.concat_tables([rest, pa.Table.from_batches([batch]).cast(VERDICT)])
        yield rest.slice(0, size).combine_chunks()
        rest = rest.slice(size)
    if rest.num_rows or any(batch.num_rows for batch in more):
        raise IntegrityError("captions/ holds more candidates than were committed")


# A scan of all captions ran hundreds of chunks ahead of the writers: 3.1 GB at ten million candidates, 1.7 GB this way.
def _captioned(
    ledger: Ledger, states: States, work: Callable[[str, pa.Table, pa.Table], Diff]
) -> Callable[[str, pa.Table], Diff]:
    """`work` on a chunk, whose captions it reads then and there: a scan of all of them would run far ahead of it."""
    judges = judge_columns(captions_schema(ledger))
    reader = CaptionsReader(ledger, ["uid", "candidate", "source", "text", "box", *judges], states)

    def work_on(chunk: str, verdict: pa.Table) -> Diff:
        captions = reader.read(chunk)
        if captions.num_rows != verdict.num_rows:
            raise IntegrityError(
                f"captions/{chunk}.parquet holds {captions.num_rows} candidates, not {verdict.num_rows}"
            )
        return work(chunk, captions, verdict)

    return work_on


def _read(folder: Folder, name: str, columns: Sequence[str]) -> pa.Table:
    """Those of the columns that the file has."""
    with opened(folder, name) as file:
        return file.read(columns=list(columns), use_threads=False)  # chunks are read side by side


def _result(diff: Diff) -> Selection:
    texts = {source: moves(diff.texts, source) for source in diff.sources}
    wrong = {source: diff.expected_wrong(source) for source in diff.sources}
    return Selection(
        {source: moved.after for source, moved in texts.items() if moved.after},
        {source: moved.dropped for source, moved in texts.items() if moved.dropped},
        moves(diff.images, ANY).after,
        {source: round(share, 6) for source, share in wrong.items() if share is not None},
    )


@dataclass(frozen=True, slots=True)
class _Writer:
    """Puts a selection in the place of the one before."""

    folder: Folder
    images: Images
    name: str  # to keep the decisions under; "" = none, or they are there
    has_old: bool  # decisions/ and corpus/ are a selection
    fits: bool  # and of just these chunks and this form of images: what it wrote can stay
    files: frozenset[str]  # that are there

    @classmethod
    def at(cls, ledger: Ledger, old: dict[str, Any], new: dict[str, Any], name: str) -> "_Writer":
        same = {key: old.get(key) == new[key] for key in ("capfilt", "commits", "images")}
        same["layers"] = old.get("layers", NO_LAYERS) == new["layers"]  # their columns stand in corpus/
        files = {file for table in ("decisions", "corpus") for file in ledger.folder.names(table, ".parquet")}
        return cls(ledger.folder, new["images"], name, bool(old), all(same.values()), frozenset(files))

    def begin(self) -> None:
        """While these are away, nobody takes a mixture of two selections for one."""
        # Deleted first, written last: killed in between, there is no selection, and the next `select` makes it whole.
        self.folder.delete("selection.toml")
        if self.name:
            self.folder.delete(f"selections/{self.name}.toml")

    def end(self, made_of: dict[str, Any], new: dict[str, Any], result: Selection) -> None:
        if self.name:
            self.folder.write(f"selections/{self.name}.toml", to_toml({**made_of, "result": asdict(result)}).encode())
        self.folder.write("selection.toml", to_toml({**new, "result": asdict(result)}).encode())

    def preview(self, chunk: str, captions: pa.Table, verdict: pa.Table) -> Diff:
        """What would change in a chunk."""
        return compare(chunk, captions, self._old(chunk), _decisions(captions, verdict))

    def chunk(self, chunk: str, captions: pa.Table, verdict: pa.Table) -> Diff:
        """Write the files of a chunk that change."""
        old, new, file = self._old(chunk), _decisions(captions, verdict), f"{chunk}.parquet"
        is_same = old is not None and old.equals(new)
        data = b"" if is_same and not self.name else parquet_bytes(new)
        if self.name:
            self.folder.write(f"selections/{self.name}/decisions/{file}", data)
        if not (self._keeps_corpus(old, new) and f"corpus/{file}" in self.files):
            corpus = corpus_table(read_images(self.folder, chunk, self.images), captions, new)
            pictures = self.images == "bytes"
            self.folder.write(f"corpus/{file}", table_bytes(corpus) if pictures else parquet_bytes(corpus))
        if not is_same:
            self.folder.write(f"decisions/{file}", data)
        return compare(chunk, captions, old, new)

    def _keeps_corpus(self, old: pa.Table | None, new: pa.Table) -> bool:
        names = ["uid", "candidate", "rank"]
        return self.fits and old is not None and old.select(names).equals(new.select(names))

    def _old(self, chunk: str) -> pa.Table | None:
        name = f"decisions/{chunk}.parquet"
        if not (self.has_old and name in self.files):
            return None
        return _read(self.folder, name, schema.DECISIONS.names)


def _decisions(captions: pa.Table, verdict: pa.Table) -> pa.Table:
    columns = [captions["uid"], captions["candidate"], *verdict.columns]
    return pa.table(columns, names=schema.DECISIONS.names).cast(schema.DECISIONS)
