"""The models that are known: what `capfilt models` tells. Any other one works by its directory or address.

Sizes are counted on the classes that load them, but for LLaVA-1.5's and Qwen's, which their pages tell. Licenses are
those of the pages; read them before you use a model, for they change, and some forbid uses.
"""

from dataclasses import dataclass
from typing import Final

from capfilt.core.plugins import package, plugins
from capfilt.models.formats.model_info import Role
from capfilt.models.registry import plugin
from capfilt.models.score_columns import COSINE, MATCHING


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What `capfilt models` says of a model."""

    name: str
    role: Role
    parameters: str
    license: str
    prompt: str = ""  # what its captions start from: words, or a question to a chat model
    columns: tuple[str, ...] = ()  # the scores it gives
    ships: bool = False  # else it is fetched from the hub
    package: str = ""  # that brings it by an entry point

    @property
    def source(self) -> str:
        """Where it comes from."""
        return self.package or ("here" if self.ships else "hub")


def _captioner(name: str, parameters: str, license: str, prompt: str) -> ModelCard:
    return ModelCard(name=name, role="captioner", parameters=parameters, license=license, prompt=prompt)


def _judge(name: str, parameters: str, license: str, columns: tuple[str, ...]) -> ModelCard:
    return ModelCard(name=name, role="filter", parameters=parameters, license=license, columns=columns)


_PICTURE: Final = "a picture of"
_QUESTION: Final = "(a question)"

_ENTRIES: Final = (
    ModelCard(
        name="demo-captioner",
        role="captioner",
        parameters="2.0M",
        license="Apache-2.0",
        ships=True,
    ),
    _captioner("Salesforce/blip-image-captioning-base", "224M", "BSD-3", _PICTURE),
    _captioner("Salesforce/blip-image-captioning-large", "446M", "BSD-3", _PICTURE),
    _captioner("Salesforce/blip2-opt-2.7b", "3.7B", "MIT", ""),
    _captioner("Salesforce/instructblip-flan-t5-xl", "4.0B", "MIT", _QUESTION),
    _captioner("llava-hf/llava-1.5-7b-hf", "7.1B", "Llama 2", _QUESTION),
    _captioner("llava-hf/llava-v1.6-mistral-7b-hf", "7.6B", "Apache-2.0", _QUESTION),
    _captioner("Qwen/Qwen2-VL-2B-Instruct", "2.2B", "Apache-2.0", _QUESTION),
    _captioner("Qwen/Qwen2-VL-7B-Instruct", "8.3B", "Apache-2.0", _QUESTION),
    ModelCard(
        name="demo-filter",
        role="filter",
        parameters="2.0M",
        license="Apache-2.0",
        columns=MATCHING,
        ships=True,
    ),
    _judge("Salesforce/blip-itm-base-coco", "224M", "BSD-3", MATCHING),
    _judge("Salesforce/blip-itm-base-flickr", "224M", "BSD-3", MATCHING),
    _judge("Salesforce/blip-itm-large-coco", "446M", "BSD-3", MATCHING),
    _judge("Salesforce/blip-itm-large-flickr", "446M", "BSD-3", MATCHING),
    _judge("Salesforce/blip2-itm-vit-g", "1.2B", "MIT", MATCHING),
    _judge("open_clip:ViT-B-32:openai", "151M", "MIT", COSINE),
    _judge("open_clip:ViT-L-14:openai", "428M", "MIT", COSINE),
    _judge("open_clip:ViT-L-14:datacomp_xl_s13b_b90k", "428M", "MIT", COSINE),
    _judge("open_clip:RN50x64:openai", "623M", "MIT", COSINE),
    _judge("open_clip:ViT-B-16-SigLIP:webli", "203M", "Apache-2.0", COSINE),
)

CATALOG: Final = {card.name: card for card in _ENTRIES}

SHIPPED: Final = frozenset({card.name for card in _ENTRIES if card.ships} | {"demo-language"})
"""Names of checkpoints that ship; `demo-language` is no model of a run, but the `model.language` of trainings."""


def cards(role: Role) -> list[ModelCard]:
    """The models of a role: those that are known here, then those that installed packages bring. Loads none."""
    brought = plugins(plugin.GROUPS[role])
    others = [
        ModelCard(name=name, role=role, parameters="", license="", package=package(entry))
        for name, entry in sorted(brought.items())
    ]
    return [card for card in CATALOG.values() if card.role == role] + others
