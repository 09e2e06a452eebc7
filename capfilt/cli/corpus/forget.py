"""`capfilt forget`: take rows out of a run for ever."""

from typing import TYPE_CHECKING, Annotated

import typer

from capfilt.cli.terminal.options import Run

if TYPE_CHECKING:
    from capfilt.pipelines.forget.forget import Forgotten

Names = list[str] | None


def forget(
    out: Run,
    url: Annotated[
        Names, typer.Option(metavar="URL", help="The row of this URL. Default: none.", show_default=False)
    ] = None,
    domain: Annotated[
        Names,
        typer.Option(metavar="HOST", help="All rows of this host and of those below it. Default: none."),
    ] = None,
    sha256: Annotated[
        Names, typer.Option(metavar="HEX", help="All rows whose image has this digest. Default: none.")
    ] = None,
    uid: Annotated[Names, typer.Option(metavar="HEX", help="The row of this uid. Default: none.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would go. Default: it goes.", show_default=False)
    ] = False,
) -> None:
    """Take rows out of every file of a run, for ever.

    It will not fetch them again either.

    Each name may be given several times. Interrupted, the same command goes on; what is gone is gone.
    """
    from capfilt.core.storage import Folder
    from capfilt.pipelines.forget.forget import forget as take_out

    kinds = (("url", url), ("domain", domain), ("sha256", sha256), ("uid", uid))
    names = [(kind, value) for kind, values in kinds for value in values or ()]
    _report(out, take_out(Folder.at(out), names, dry_run), named=bool(names), dry_run=dry_run)


def _report(out: str, found: "Forgotten", *, named: bool, dry_run: bool) -> None:
    from capfilt.cli.terminal import console

    if found.finished:
        console.say("what an interrupted forget had left is gone now")
    if not named:
        return
    texts = [(f"  {source} texts", count) for source, count in found.texts.items()]
    would = "would be forgotten" if dry_run else "forgotten"
    console.table((would, "rows"), [("images", found.images), *texts, ("failures", found.failures)])
    if found.images + found.failures:
        _report_users(found)
    console.say()
    for line in _notes(out, found):
        console.say(line)


def _report_users(found: "Forgotten") -> None:
    from capfilt.cli.terminal import console

    users = [(one.name, one.images, one.texts) for one in found.used_by]
    if users:
        console.table(("used by", "images", "texts"), users)


def _notes(out: str, found: "Forgotten") -> list[str]:
    notes = []
    if not found.images + found.failures:
        return ["no row has these names; a later run will leave them alone all the same"]
    if not found.used_by:
        notes.append("used by: no selection, no export")
    notes.append("checkpoints: none recorded; a training does not tell the run it reads")
    notes += [f"left as it is: {name}, which {_rows(count)} came from" for name, count in found.inputs.items()]
    notes += [f"left as it is: {out.rstrip('/')}/{name}, which names some of them" for name in found.named_in]
    notes += [f"--sha256 {digest} would take {_rows(n)} more: the same bytes" for digest, n in found.same_bytes.items()]
    return notes


def _rows(count: int) -> str:
    return f"{count} row" if count == 1 else f"{count} rows"
