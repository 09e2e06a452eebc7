"""`capfilt convert`: checkpoints in other forms, as directories that load."""

from pathlib import Path
from typing import Annotated

import typer


def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .pth, .pt or .bin file, or a LoRA folder.")],
    to: Annotated[Path, typer.Option(metavar="DIR", help="Directory to write; must be empty.", show_default=False)],
    architecture: Annotated[
        str, typer.Option(metavar="NAME", help="open_clip: the architecture, e.g. ViT-B-32.", show_default=False)
    ] = "",
    base: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="LoRA, Alpha-CLIP: the model it was trained on. Default: none.", show_default=False
        ),
    ] = None,
    words: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="BLIP: BERT's vocab.txt. Default: beside FILE.", show_default=False),
    ] = None,
    vision: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="BLIP-2: its image tower, eva_vit_g.pth. Default: in FILE.", show_default=False
        ),
    ] = None,
) -> None:
    """Convert a checkpoint to a directory of safetensors.

    Reads BLIP's own files, BLIP-2 of LAVIS, trainings of open_clip, Alpha-CLIP's image towers, pickled weights of
    transformers and LoRA adapters; runs no code of theirs.
    """
    from capfilt.cli.terminal import console
    from capfilt.models.formats.convert import convert as rewrite

    console.say(f"{file}: {rewrite(file, to, architecture, base, words, vision)}")
    console.say(f"written: {to}")
