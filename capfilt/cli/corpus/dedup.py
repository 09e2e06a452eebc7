"""`capfilt dedup`: find near-duplicate images and texts."""

from typing import TYPE_CHECKING, Annotated

import typer

from capfilt.cli.terminal.options import Run

if TYPE_CHECKING:
    from capfilt.pipelines.dedup.dedup import Groups


def dedup(
    out: Run,
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="OUT", help="Earlier run to compare images with as well. Repeatable. Default: none."),
    ] = None,
    radius: Annotated[
        int, typer.Option(metavar="BITS", min=0, max=16, help="Maximum difference of two image hashes, in bits of 64.")
    ] = 4,
    similarity: Annotated[
        float,
        typer.Option(
            metavar="SHARE", min=0.5, max=1.0, help="Minimum Jaccard similarity of two texts (5-character shingles)."
        ),
    ] = 0.8,
) -> None:
    """Find near-duplicate images and texts of a run.

    The result is written to OUT/duplicates/. Nothing is dropped: a policy can do that with the views duplicates and
    duplicate_captions.
    """
    from capfilt.cli.terminal import console
    from capfilt.core.storage import Folder
    from capfilt.pipelines.dedup.dedup import find_duplicates

    found = find_duplicates(Folder.at(out), radius=radius, similarity=similarity, against=tuple(against or ()))
    if not found.fresh:
        console.say("nothing to do: these duplicates are already recorded")
    rows = [_row("images", found.images), _row("texts", found.captions)]
    console.table(("", "groups", "rows in groups", "spare", "of these exact"), rows)
    console.say()
    console.say("spare: rows of a group other than its representative")
    console.say(
        f'try:   capfilt query {out} "SELECT representative, count(*) FROM duplicates GROUP BY 1 ORDER BY 2 DESC"'
    )


def _row(name: str, groups: "Groups") -> tuple[str, int, int, int, int]:
    return name, groups.groups, groups.rows, groups.spare, groups.exact
