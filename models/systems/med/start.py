"""What a training starts from: a new MED, a checkpoint, or a new one with the image tower of a checkpoint."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from capfilt.core.errors import ConfigError
from capfilt.models.formats.checkpoint import describe, vocabulary, weight_files
from capfilt.models.formats.guarded import load_tensors
from capfilt.models.formats.timm_tower import is_timm
from capfilt.models.formats.weights import load_med, load_tokenizer, make_med
from capfilt.models.med.blip import from_bert
from capfilt.models.med.config import SIZES, MEDConfig
from capfilt.models.med.model import MED
from capfilt.models.med.vision import fitted
from capfilt.models.registry.resolve import locate
from capfilt.models.systems.med.frozen import med_on_tower
from capfilt.models.systems.med.system import image_size, tower_of_another
from capfilt.models.systems.parts.towers import load_tower, med_tower
from capfilt.models.tokenizer import Tokenizer, clean_text
from capfilt.models.training.checks import check_vocabulary
from capfilt.models.training.system import ModelSettings


def start_med(
    settings: ModelSettings, texts: Iterable[str], judges: bool, clean: Callable[..., str] = clean_text
) -> tuple[MED, Tokenizer]:
    """The MED a training starts from, and its tokenizer: of a checkpoint, or new with the words of `texts`."""
    side = image_size(settings)
    if settings.start:
        folder = locate(settings.start)
        model, tokenizer = load_for_training(folder, side)
        if judges and "filter" not in describe(folder).roles:
            model.text.start_encoder_from_decoder()
        check_vocabulary(tokenizer, texts, settings.max_unknown)
        return model, tokenizer
    if settings.text:
        tokenizer = load_tokenizer(vocabulary(Path(settings.text)))
        check_vocabulary(tokenizer, texts, settings.max_unknown)
    else:
        tokenizer = Tokenizer.from_words(texts, clean=clean)
    config = replace(SIZES[settings.size], vocab_size=len(tokenizer))
    tower = is_timm(settings.vision)
    model = med_on_tower(config, settings.vision, side) if tower else MED(replace(config, image_size=side))
    if settings.text:
        load_bert(model, Path(settings.text))
    if settings.vision and not tower:
        load_vision_tower(model, settings.vision)
    return model, tokenizer


def load_for_training(folder: Path, side: int) -> tuple[MED, Tokenizer]:
    """The MED of a checkpoint, made to take images of `side` pixels; what the checkpoint lacks is new."""
    model, tokenizer = load_med(folder)
    lacking = {name for name, parameter in model.named_parameters() if parameter.is_meta}
    if not lacking and side == model.config.image_size:
        return model, tokenizer
    # A published checkpoint lacks parts of a MED (meta tensors): they are initialized, in a MED that has storage.
    whole = make_med(replace(model.config, image_size=side), folder)
    weights = {name: tensor for name, tensor in model.state_dict().items() if name not in lacking}
    whole.load_state_dict(_with_grid(weights, whole.vision, "vision."), strict=False)
    # A published captioner holds one self-attention a layer, the decoder's: the encoder starts from it, as BLIP's two
    # share everything else.
    if any(".encoder." in name for name in lacking):
        whole.text.start_encoder_from_decoder()
    return whole, tokenizer


def load_bert(model: MED, folder: Path) -> None:
    """Give a MED the text side of a BERT as `transformers` saves it: embeddings, self-attention twice, FFN, LM head.

    Cross-attention is new, and so are the embeddings of the words that BERT has not ([DEC], [ENC]), as in BLIP.

    Raises:
        ConfigError: another shape, or no BERT.
    """
    found = from_bert(load_tensors(weight_files(folder)))
    own = model.state_dict()
    for name in ("text.word.weight", "text.position.weight", "lm_head.bias"):
        if name in found and name in own:  # ours has more words, and may have fewer positions
            rows = min(len(own[name]), len(found[name]))
            found[name] = torch.cat((found[name][:rows], own[name][rows:]))
    if odd := [name for name, tensor in found.items() if name not in own or own[name].shape != tensor.shape]:
        shape = f"{model.config.text_layers} layers of width {model.config.text_width}"
        raise ConfigError(f"model.text = {str(folder)!r}: {odd[0]} does not fit a text side of {shape}")
    if len(found) < 2 * model.config.text_layers:
        raise ConfigError(f"model.text = {str(folder)!r}: not a BERT")
    model.load_state_dict(found, strict=False)


def load_vision_tower(model: MED, name: str) -> None:
    """Give a MED the image tower of a checkpoint: of another MED, a ViT, an MAE or a BEiT.

    Raises:
        ConfigError: the two towers have different shapes.
    """
    found = tower_of_another(name)
    own = med_tower(load_tower(found)) if found else dict(load_med(locate(name))[0].vision.state_dict())
    weights = _with_grid(own, model.vision, "")
    try:
        model.vision.load_state_dict(weights)
    except RuntimeError as error:
        raise ConfigError(f"model.vision = {name!r}: its image tower is not {_shape(model.config)}") from error


def _with_grid(weights: dict[str, torch.Tensor], vision: nn.Module, prefix: str) -> dict[str, torch.Tensor]:
    """Weights with position embeddings interpolated for the grid of another image size."""
    shapes = {
        name: tensor.shape[1] for name, tensor in vision.named_parameters() if name in ("position", "output_pos_embed")
    }
    sides = {f"{prefix}{name}": round((tokens - 1) ** 0.5) for name, tokens in shapes.items()}
    return {
        name: fitted(tensor, sides[name], sides[name]) if name in sides else tensor for name, tensor in weights.items()
    }


def _shape(config: MEDConfig) -> str:
    return f"{config.vision_layers} layers of width {config.vision_width} on patches of {config.patch_size}"
