"""`capfilt dedup`: find near-duplicates."""

from typing import TYPE_CHECKING, Annotated

import typer

from capfilt.cli.terminal.options import Run

if TYPE_CHECKING:
    from capfilt.pipelines.dedup.dedup import Groups


def dedup(
    out: Run,
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="OUT", help="An earlier run whose images count too; may be given again. Default: none."),
    ] = None,
    radius: Annotated[
        int, typer.Option(metavar="BITS", min=0, max=16, help="Bits of 64 in which like images may differ.")
    ] = 4,
    similarity: Annotated[
        float,
        typer.Option(metavar="SHARE", min=0.5, max=1.0, help="Share of five-letter pieces like texts have in common."),
    ] = 0.8,
) -> None:
    """Note images that look alike and texts that say the same.

    They are written to OUT/duplicates/.

    Nothing is dropped: a policy can, over the views duplicates and duplicate_captions.
    """
    from capfilt.cli.terminal import console
    from capfilt.core.storage import Folder
    from capfilt.pipelines.dedup.dedup import find_duplicates

    found = find_duplicates(Folder.at(out), radius=radius, similarity=similarity, against=tuple(against or ()))
    if not found.fresh:
        console.say("nothing to do: just these duplicates were found already")
    rows = [_row("images", found.images), _row("texts", found.captions)]
    console.table(("", "groups", "rows in groups", "spare", "of these exact"), rows)
    console.say()
    console.say("spare: all of a group but the row that stands for it")
    console.say(
        f'try:   capfilt query {out} "SELECT representative, count(*) FROM duplicates GROUP BY 1 ORDER BY 2 DESC"'
    )


def _row(name: str, groups: "Groups") -> tuple[str, int, int, int, int]:
    return name, groups.groups, groups.rows, groups.spare, groups.exact
