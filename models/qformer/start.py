"""What a Q-Former starts from: the image tower of a MED, its words, and where shapes allow its text side."""

from dataclasses import replace

from torch import Tensor

from capfilt.models.med.model import MED
from capfilt.models.med.vision import VisionTransformer
from capfilt.models.qformer.bridge import Bridge
from capfilt.models.qformer.config import QFormerConfig
from capfilt.models.qformer.model import QFormer

_TAKEN = (("own", "encoder"), ("cross", "cross"))


def config_for(med: MED, queries: int, width: int, layers: int, heads: int, ffn: int) -> QFormerConfig:
    """Shape of a Q-Former on the tower of a MED; what is 0 is as the MED's text side has it."""
    own = med.config
    return QFormerConfig(
        queries=queries,
        width=width or own.text_width,
        layers=layers or own.text_layers,
        heads=heads or own.text_heads,
        ffn=ffn or own.text_ffn,
        vision_width=own.vision_width,
        vocab_size=own.vocab_size,
        max_positions=own.max_positions,
        projection=own.projection,
    )


def skip_last_layers(med: MED, count: int) -> None:
    """Leave out the last layers of a MED's image tower: BLIP-2 reads the layer before the last (section 3.4).

    The tower's last norm stays; the Q-Former has a trained one behind it.
    """
    assert isinstance(med.vision, VisionTransformer)  # the system's check has refused towers of timm
    left = len(med.vision.layers) - count
    med.vision.layers = med.vision.layers[:left]
    med.config = replace(med.config, vision_layers=left)


def bridge_on(med: MED, config: QFormerConfig) -> Bridge:
    """A new Q-Former on the frozen tower of a MED, its text side taken from the MED's.

    BLIP-2 starts from BERT (section 3.1), whose shape a MED's text encoder has.
    """
    assert isinstance(med.vision, VisionTransformer)  # as above
    bridge = Bridge(config, med.vision)
    _take(bridge.qformer, dict(med.text.state_dict()))
    bridge.qformer.start_queries_from_text()
    return bridge


def _take(qformer: QFormer, text: dict[str, Tensor]) -> None:
    """Give a Q-Former every tensor of a MED's text side that has its place and its shape."""
    own = qformer.state_dict()
    found: dict[str, Tensor] = {}
    for name, tensor in text.items():
        place = name
        for ours, theirs in _TAKEN:
            place = place.replace(f".{theirs}.", f".{ours}.")
        if name.startswith("layers.") and name.split(".")[2] in ("fc1", "fc2", "norm"):
            _, layer, rest = name.split(".", 2)
            place = f"layers.{layer}.text_ffn.{rest}"
        if place in own and own[place].shape == tensor.shape:
            found[place] = tensor
    qformer.load_state_dict(own | found)


def freeze_text_side(qformer: QFormer) -> None:
    """Stop training what stage 2 has no use for: the text side and the heads of stage 1."""
    for name, parameter in qformer.named_parameters():
        if name.startswith(("word", "position", "lm_head", "text_proj", "vision_proj", "itm_head", "temperature")):
            parameter.requires_grad_(False)
        if ".text_ffn." in name:
            parameter.requires_grad_(False)
