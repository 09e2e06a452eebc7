"""Q-Formers as `transformers` saves them (`Blip2ForImageTextRetrieval`, `Blip2ForConditionalGeneration`) and ours.

A published one may lack what its class has no use for: the generating class has no text side, and none has the head of
ITG or the temperature.
"""

import re
from typing import Final

from torch import Tensor

_FFN: Final = {
    "intermediate{}.dense": "{}_ffn.fc1",
    "output{}.dense": "{}_ffn.fc2",
    "output{}.LayerNorm": "{}_ffn.norm",
}
_NAMES: Final = {
    "query_tokens": "query",
    "embeddings.word_embeddings": "word",
    "embeddings.position_embeddings": "position",
    "qformer.layernorm": "norm",
    "vision_projection": "vision_proj",
    "text_projection": "text_proj",
    "itm_head": "itm_head",
    **{
        f"qformer.encoder.layer.#.{theirs}.attention.{part}": f"layers.#.{ours}.{part}"
        for theirs, ours in (("attention", "own"), ("crossattention", "cross"))
        for part in ("query", "key", "value")
    },
    **{
        f"qformer.encoder.layer.#.{theirs}.output.{part}": f"layers.#.{ours}.{own}"
        for theirs, ours in (("attention", "own"), ("crossattention", "cross"))
        for part, own in (("dense", "out"), ("LayerNorm", "norm"))
    },
    **{
        f"qformer.encoder.layer.#.{theirs.format(mark)}": f"layers.#.{ours.format(side)}"
        for theirs, ours in _FFN.items()
        for mark, side in (("", "text"), ("_query", "query"))
    },
}
_OTHERS: Final = ("vision_model.", "language_model.", "language_projection.")
"""Parts of a published model that are no Q-Former."""


def from_transformers(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The Q-Former of a published state dict under our names.

    Raises:
        KeyError: a tensor that is not known; nothing is left out in silence.
    """
    own = {name: tensor for name, tensor in weights.items() if not name.startswith(_OTHERS)}
    return {_rename(name, _NAMES): tensor for name, tensor in own.items()}


def _rename(name: str, names: dict[str, str]) -> str:
    if name in names:
        return names[name]
    stem, _, tail = name.rpartition(".")
    layer = re.search(r"\.(\d+)\.", stem)
    found = names[re.sub(r"\.\d+\.", ".#.", stem)]
    return f"{found.replace('#', layer[1] if layer else '')}.{tail}"
