"""The tensors of a checkpoint directory, written and read. Safetensors only."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import normalizers
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from capfilt.core.disk.put_in_place import put_in_place, sync
from capfilt.core.errors import ModelError
from capfilt.models.formats.checkpoint import (
    CONFIG,
    FORMAT,
    TOKENIZER,
    WEIGHTS,
    Description,
    bert_settings,
    describe,
    vocabulary,
    weight_files,
)
from capfilt.models.formats.guarded import load_tensors, load_tokenizer_file
from capfilt.models.formats.timm_tower import check_timm, load_timm
from capfilt.models.med.blip import OUTPUT, from_blip
from capfilt.models.med.config import MEDConfig
from capfilt.models.med.model import MED
from capfilt.models.runtime import Placement
from capfilt.models.tokenizer import DEC, Tokenizer


def save_med(
    folder: Path,
    model: MED,
    tokenizer: Tokenizer,
    roles: tuple[str, ...],
    dtype: torch.dtype = torch.float32,
    prompt: str = "",
) -> None:
    """Write the checkpoint of a MED.

    `roles` says what it was trained for (captioner, filter), so that nobody uses it for the other by mistake, and
    `prompt` what its captions began with, so that it is asked as it was trained.
    """
    asked = {"prompt": prompt} if prompt else {}
    settings = {"format": FORMAT, "roles": list(roles), **asked, **model.config.to_dict()}
    write_checkpoint(folder, settings, tokenizer, model.state_dict(), dtype)


def write_checkpoint(
    folder: Path, settings: dict[str, Any], tokenizer: Tokenizer, tensors: Mapping[str, Tensor], dtype: torch.dtype
) -> None:
    """Write `config.json`, `tokenizer.json` and `model.safetensors`.

    The weights come last and by a rename, so that a directory with weights is whole after a kill or
    a power loss at any moment.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    tokenizer.save(folder / TOKENIZER)
    # safetensors refuses tensors that share memory or lie in strides.
    weights = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in tensors.items()}
    draft = folder / f".{WEIGHTS}"
    save_file(weights, draft, metadata={"format": "pt"})
    # Both are on the disk before the weights get their name: who sees weights must find what they are.
    for path in (folder / CONFIG, folder / TOKENIZER):
        sync(path)
    put_in_place(draft, folder / WEIGHTS)


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a `tokenizer.json`, or BERT's `vocab.txt` with what `tokenizer_config.json` says of case and accents."""
    if path.suffix == ".txt":
        how = normalizers.BertNormalizer(**bert_settings(path.parent))
        # Not `splitlines`: words of BERT hold what it takes for ends of lines.
        return Tokenizer.from_vocabulary(path.read_text(encoding="utf-8").removesuffix("\n").split("\n"), how)
    return Tokenizer.from_backend(load_tokenizer_file(path))


def load_med(
    folder: Path, dtype: torch.dtype = torch.float32, device: str = "cpu", for_captioning: bool = False
) -> tuple[MED, Tokenizer]:
    """Read a checkpoint, ours or a published one, into an evaluating MED of the dtype asked for.

    `for_captioning`: it will do nothing but caption, and is laid out for that.

    On a CPU, tensors that have that dtype already stay mapped from the file: they are not copied, and processes of one
    machine share them. The others are converted one by one, and so is what `MED.pack` lays out again.

    A published checkpoint holds only what its role needs; the other parts of the MED stay without storage (on the
    `meta` device), so that using them by mistake is an error and not a wrong number.

    Raises:
        ModelError: a missing or unreadable file, or weights that are not those of the configuration.
    """
    described = describe(folder)
    try:
        tokenizer = load_tokenizer(vocabulary(folder))
        _check_words(tokenizer, described, vocabulary(folder))
        weights = load_tensors(weight_files(folder), device, dtype)
        named = from_blip(weights, described.layout) if described.layout else weights
    except ModelError:
        raise
    except Exception as error:  # tokenizers and safetensors raise bare Exceptions
        raise ModelError(f"{folder}: {type(error).__name__}: {error}") from error
    config = described.config
    if described.layout:  # what the file holds decides, as in transformers: a head that is stored is not tied over
        if described.layout == "captioning" and not config.tie_word_embeddings and OUTPUT[0] not in weights:
            raise ModelError(f"{folder / CONFIG}: tie_word_embeddings is false, but the weights hold no {OUTPUT[0]}")
        config = replace(config, tie_word_embeddings="lm_head.words" not in named)
    with SkipInit():
        model = make_med(config, folder)
    try:
        missing, _ = model.load_state_dict(named, assign=True, strict=described.layout is None)
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        raise ModelError(f"{folder / WEIGHTS}: not the weights of {CONFIG}: {first}") from error
    for name in missing:
        _drop_storage(model, name)
    del weights, named  # each is given back as its packed form is made
    model.pack(for_captioning)
    return model.eval(), tokenizer


def make_med(config: MEDConfig, folder: Path) -> MED:
    """A new MED; on a frozen tower where its config, of the checkpoint in `folder`, names one.

    Raises:
        ModelError: the tower or its weights are not here, or are others.
    """
    if not config.tower:
        return MED(config)
    check_timm(config.tower, config.tower_digest, folder)
    return MED(config, load_timm(config.tower, config.image_size))


def _check_words(tokenizer: Tokenizer, described: Description, file: Path) -> None:
    """Make sure that words have the ids by which the weights know them: one word fewer moves all that follow.

    Raises:
        ModelError: the vocabulary is another one.
    """
    most, first = max(tokenizer.backend.get_vocab().values()), tokenizer.ids[DEC]
    if most >= described.config.vocab_size:
        raise ModelError(f"{file}: {most + 1} words, more than the {described.config.vocab_size} of the model")
    if described.first not in (None, first):
        raise ModelError(
            f"{file}: not the words of this model: [DEC] is {first} here, and {described.first} in {CONFIG}"
        )


class SkipInit(TorchFunctionMode):
    """Modules made in here keep whatever lies in their memory, for weights that are replaced at once.

    The `meta` device would do, too; but merely adding up there, torch loads its compiler: 5 s in every process.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in (nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def _drop_storage(model: nn.Module, name: str) -> None:
    """Leave a parameter without storage."""
    owner, _, last = name.rpartition(".")
    parameter = model.get_parameter(name)
    setattr(model.get_submodule(owner), last, nn.Parameter(torch.empty_like(parameter, device="meta")))


def load_placed(folder: Path, placement: Placement, for_captioning: bool) -> tuple[MED, Tokenizer]:
    """`load_med` to where a captioner or judge runs; its image tower compiled if `placement` asks for that."""
    device, dtype = placement.resolve()
    model, tokenizer = load_med(folder, dtype, device, for_captioning)
    if placement.compile:
        model.vision.compile()
    return model, tokenizer
