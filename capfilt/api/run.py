"""A run from Python: make or resume one, open one, and what can be asked of it."""

from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

from capfilt.api.progress import listener
from capfilt.api.settings import changes_of, plain, recipe_with
from capfilt.commands.progress import Listener
from capfilt.commands.run import RunResult
from capfilt.commands.run import append as append_to
from capfilt.commands.run import run as run_all
from capfilt.core.errors import ConfigError
from capfilt.core.storage import Folder
from capfilt.ledger.ledger import Ledger
from capfilt.ledger.status import Status
from capfilt.ledger.status import status as read_status
from capfilt.pipelines.recipes.load import make_recipe, read_settings
from capfilt.pipelines.selection.select import Selection, settings_for
from capfilt.pipelines.selection.select import select as decide

if TYPE_CHECKING:
    import datasets
    import duckdb
    import ray.data
    from torch.utils.data import IterableDataset

    from capfilt.api.torch_dataset import Transform
    from capfilt.commands.annotate import AnnotateResult
    from capfilt.pipelines.export.export import Exported

Place = str | PathLike[str]


def run(
    inputs: Place | Sequence[Place],
    out: Place,
    *,
    recipe: Place = "blip",
    set: Mapping[str, Any] | None = None,
    limit: int | None = None,
    fresh: bool = False,
    append: bool = False,
    progress: bool | Listener | None = None,
) -> "Run":
    """Run CapFilt over inputs into `out`, or resume an interrupted run of the same; a finished one is a no-op.

    Args:
        inputs: URL lists, .tar shards, Parquet with images, image folders: paths, globs, folders or bucket URLs.
        out: folder or bucket URL of the run.
        recipe: the name of a recipe, or a TOML file.
        set: settings that change it, such as `{"caption.n": 10, "engine.kind": "local"}`.
        limit: rows of the input at most.
        fresh: refuse an `out` that holds a run.
        append: these inputs join the run in `out`; files that it has are skipped. The recipe is the run's own; `set`
            may change `[fetch]`, and where and how fast it runs.
        progress: True shows it, False does not, None shows it in notebooks only; or a function that gets a
            `RunProgress` when a phase begins and a chunk is committed.

    Returns:
        The run; `result` says what this call did.

    Raises:
        UserError: a mistake in inputs, settings or models, a changed input or setting, or a busy `out`; before work.
        RunFailed: some chunks failed; all others are committed, and the same call resumes.
        IntegrityError: rows in are not images + failures.
    """
    given = [inputs] if isinstance(inputs, str | PathLike) else inputs
    files = [fspath(one) for one in given]
    if append:
        if fresh or limit or recipe != "blip":
            raise ConfigError("append=True uses the recipe of the run and whole inputs: give no recipe, limit or fresh")
        with listener(progress) as listen:
            return Run(fspath(out), append_to(files, fspath(out), changes_of(set), listener=listen))
    chosen = recipe_with(recipe, set or {})
    with listener(progress) as listen:
        result = run_all(files, fspath(out), chosen, limit=limit, fresh=fresh, listener=listen)
    return Run(fspath(out), result)


def open(out: Place) -> "Run":
    """A finished or interrupted run.

    Args:
        out: its folder or bucket URL.

    Raises:
        InputError: there is no run.
    """
    found = Run(fspath(out))
    # Raises where there is no run.
    _ = found._ledger.run
    return found


class Run:
    """A run; made by `capfilt.run` or `capfilt.open`. It holds no file open and may be pickled."""

    def __init__(self, out: str, result: RunResult | None = None) -> None:
        self.out = out
        self.result = result
        """What `capfilt.run` did; None of a run that was opened."""

    @property
    def _ledger(self) -> Ledger:
        return Ledger(Folder.at(self.out))

    def status(self) -> Status:
        """Where the run stands: chunks, rows, images, failures by reason, captions by source, whether it balances."""
        return read_status(Folder.at(self.out))

    def table(self, name: str) -> "duckdb.DuckDBPyRelation":
        """A table of the run as a DuckDB relation: `.df()`, `.arrow()`, `.pl()`, `.filter(...)`, `.fetchall()`.

        It is the state at the moment of this call; columns that are not asked for are not read.

        Args:
            name: images, captions, failures, decisions, corpus, selections, commits, duplicates, duplicate_captions.

        Raises:
            ConfigError: no such table.
        """
        from capfilt.pipelines.query import connect, schemas

        if name not in (known := schemas(self._ledger)):
            raise ConfigError(f"table {name!r} is not known; there are: {', '.join(known)}")
        return connect(Folder.at(self.out)).table(name)

    def captions(self) -> "duckdb.DuckDBPyRelation":
        """Every candidate text, web and synthetic, with its scores: `table("captions")`."""
        return self.table("captions")

    def select(
        self, *, recipe: Place | None = None, name: str = "", dry_run: bool = False, **settings: Any
    ) -> Selection:
        """Re-apply a selection policy to the stored scores; loads no model. It becomes the current selection.

        Args:
            recipe: whose `[select]` counts; None = that of the selection `name` if there is one, else the run's.
            name: also keep the decisions under this name.
            dry_run: write nothing.
            settings: settings of `[select]`, such as `policy="quantile"`, `threshold=0.7`.

        Returns:
            Texts kept and dropped by source, and the number of images.

        Raises:
            ConfigError: an unknown policy or setting, an impossible value, or a score that no judge gave.
            BusyError: another process writes the run.
        """
        ledger = self._ledger
        if recipe is not None:
            base = read_settings(fspath(recipe)).get("select", {})
        else:
            base = settings_for(ledger, name=name).model_dump(mode="json")
        chosen = make_recipe({"select": {**base, **plain(settings)}}, (), self.out).select
        images = ledger.selection().get("images", ledger.run["recipe"]["output"]["images"])
        if dry_run:
            return decide(ledger.folder, chosen, images, name=name, dry_run=True)
        with ledger.lock():
            return decide(ledger.folder, chosen, images, name=name)

    def annotate(
        self,
        judge: Place = "",
        *,
        captioner: Place = "",
        image_judge: Place = "",
        name: str = "",
        where: str = "",
        set: Mapping[str, Any] | None = None,
        progress: bool | Listener | None = None,
    ) -> "AnnotateResult":
        """Add a judge of every text or of every image, or a captioner that writes more, as a layer.

        Nothing is downloaded, and no table of the run is written again; the same call resumes an interrupted one.
        `table`, `select` and `export` see the layer. All judges score new captions, which join the current selection.

        Args:
            judge: a name of `list_judges()` or a directory; `TAG=NAME` adds `_TAG` to its columns. "" and no other
                model = complete the layers that there are.
            captioner: a name of `list_captioners()` or a directory, instead of a judge.
            image_judge: `quality`, or `tags:`, `head:` or `embedding:` and a judge; its columns join `images`.
            name: of the layer; "" = the tag, or else made of the model's name.
            where: SQL over the columns of images: only those for which it is true; "" = all.
            set: settings of `[engine]`, of `[caption]` and `[endpoint]` for a captioner, or of `[score]` for a judge.
            progress: as of `capfilt.run`.

        Returns:
            The columns, and how many chunks this call annotated.

        Raises:
            ConfigError: a column that is there already, or another setting.
            ChangedError: the layer was begun with other weights or settings.
            BusyError: another process writes the run.
        """
        from capfilt.commands.annotate import annotate

        with listener(progress) as listen:
            judges = [fspath(judge)] if judge else []
            return annotate(
                self.out,
                judges,
                fspath(captioner),
                image_judges=[fspath(image_judge)] if image_judge else [],
                name=name,
                where=where,
                overrides=changes_of(set),
                listener=listen,
            )

    def drop_layer(self, name: str) -> None:
        """Remove a layer with all its columns.

        Raises:
            ConfigError: there is none of that name.
            BusyError: another process writes the run.
        """
        from capfilt.commands.annotate import drop

        drop(self.out, name)

    def export(
        self, to: Place, *, format: str = "parquet", selection: str = "", shard_rows: int | None = None
    ) -> "Exported":
        """Write the kept pairs as files that others read; the same call resumes, or does nothing once they are whole.

        Args:
            to: an empty folder or bucket URL, or one with this very export.
            format: one of those that `capfilt export --help` lists; an installed package may bring more.
            selection: its name; "" = the current one.
            shard_rows: images a shard at most; None = 10,000.

        Raises:
            ConfigError: no such format.
            InputError: no such selection, or one that keeps nothing.
            ChangedError: something else is in `to`.
        """
        from capfilt.pipelines.export import export as exports

        made = exports.format_named(format)
        rows = exports.SHARD_ROWS if shard_rows is None else shard_rows
        return exports.export(Folder.at(self.out), fspath(to), format, made, selection=selection, shard_rows=rows)

    def to_torch(
        self, *, transform: "Transform | None" = None, selection: str = ""
    ) -> "IterableDataset[dict[str, Any]]":
        """The kept pairs as a `torch.utils.data.IterableDataset`, streamed; DataLoader workers share the chunks.

        Each item has `uid`, `image`, `text` (the best one), `captions` (all kept ones with their scores, best first),
        `width` and `height` (pixels), `url`, `sha256`.

        Args:
            transform: called with an upright RGB Pillow image; without it `image` is uint8 [3, height, width].
            selection: its name; "" = the current one.

        Raises:
            InputError: no such selection, or one that keeps nothing.
        """
        from capfilt.api.datasets import Pairs
        from capfilt.api.torch_dataset import CorpusDataset

        return CorpusDataset(Pairs.of(self._ledger, selection), transform)

    def to_hf(self, *, selection: str = "") -> "datasets.IterableDataset":
        """The kept pairs as a `datasets.IterableDataset`, streamed; items as of `to_torch`, images as Pillow images.

        Needs the package `datasets`.

        Args:
            selection: its name; "" = the current one.

        Raises:
            InputError: no such selection, or one that keeps nothing.
        """
        from capfilt.api.datasets import Pairs, hf_dataset

        return hf_dataset(Pairs.of(self._ledger, selection))

    def to_ray(self, *, selection: str = "") -> "ray.data.Dataset":
        """The kept pairs as a `ray.data.Dataset`, streamed; columns as of `to_torch`, images as `{"bytes", "path"}`.

        Uses the Ray that is running, with its own settings; without one Ray Data starts it.

        Args:
            selection: its name; "" = the current one.

        Raises:
            InputError: no such selection, or one that keeps nothing.
        """
        from capfilt.api.datasets import Pairs, ray_data

        return ray_data(Pairs.of(self._ledger, selection))

    def __repr__(self) -> str:
        return f"<capfilt run {self.out}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: counts, the kept share, three examples."""
        from capfilt.api.html import run_html

        return run_html(self._ledger)
