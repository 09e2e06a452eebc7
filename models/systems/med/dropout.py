"""Dropout of a MED in training: of the text side as BERT's, and of whole layers of the image tower (drop path).

Both draw from torch's own random numbers, which are part of a training's state: it resumes to the bit.
"""

from torch import nn

from capfilt.models.med.text import Attention, TextLayer, TextTransformer
from capfilt.models.med.vision import VisionLayer
from capfilt.models.training.settings import Dropout


def set_dropout(model: nn.Module, wanted: Dropout) -> None:
    """Have a model leave out so much while it trains.

    Drop path rises linearly from 0 in the first layer (Huang et al. 2016, section 3), as timm does it for BLIP.
    """
    layers = [module for module in model.modules() if isinstance(module, VisionLayer)]
    for number, layer in enumerate(layers):
        layer.drop_path = wanted.path * number / max(1, len(layers) - 1)
    for module in model.modules():
        if isinstance(module, Attention | TextLayer | TextTransformer):
            module.dropout = wanted.text
