"""How large a MED is. Sizes are data: `SIZES` names the ones of the paper and the one that ships."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final, Literal

Layout = Literal["captioning", "retrieval"]
"""The two published forms of BLIP's weights."""

OLD_NAMES: Final = {"place": "output_pos_embed"}
"""Names in checkpoints written before they were renamed, and what they are called now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MEDConfig:
    """Shape of a MED; `config.json` of a checkpoint holds exactly these fields.

    The vision tower is a pre-norm ViT, the text side a post-norm BERT (BLIP, section 3.1).
    """

    image_size: int = 384
    patch_size: int = 16
    stem: Literal["patch", "conv"] = "patch"  # conv: small ViTs learn shapes from far fewer images with it
    output_pos_embed: float = 0.0  # over 0: the states get position embeddings once more, at first this strong
    vision_width: int = 768
    vision_layers: int = 12
    vision_heads: int = 12
    text_width: int = 768
    text_layers: int = 12
    text_heads: int = 12
    text_ffn: int = 3072
    vocab_size: int = 30524  # BERT's 30522 + [DEC] + [ENC]
    max_positions: int = 512
    projection: int = 256  # width of the ITC features
    tie_word_embeddings: bool = True  # the output layer is the word embeddings; False: it has words of its own
    tower: str = ""  # a frozen image tower in place of the ViT, as `formats.timm_tower` names it
    tower_digest: str = ""
    name: str = "med-base"

    def __post_init__(self) -> None:
        may_be_none = {"vocab_size", "vision_layers" if self.tower else ""}  # a tower takes the place of the layers
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is int and (type(value) is not int or value < (field.name not in may_be_none)):
                raise ValueError(f"{field.name} = {str(value)[:40]!r}: must be a positive whole number")
        for what, width, heads in (
            ("vision", self.vision_width, self.vision_heads),
            ("text", self.text_width, self.text_heads),
        ):
            if width % heads:
                raise ValueError(f"{what}_width {width} is not a multiple of {what}_heads {heads}")
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}")

    @property
    def patches(self) -> int:
        """Patches of an image; the image has one token more, [CLS]."""
        return (self.image_size // self.patch_size) ** 2

    def to_dict(self) -> dict[str, Any]:
        """What `config.json` holds."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "MEDConfig":
        """The shape that `config.json` holds.

        Raises:
            TypeError: a field that is not known.
            ValueError: widths, heads or sizes that do not fit together.
        """
        return cls(**{OLD_NAMES.get(name, name): value for name, value in fields.items()})


_TINY: Final = MEDConfig(
    name="med-tiny",
    image_size=48,
    patch_size=8,
    stem="conv",
    output_pos_embed=2.0,
    vision_width=128,
    vision_layers=4,
    vision_heads=4,
    text_width=128,
    text_layers=3,
    text_heads=4,
    text_ffn=512,
    vocab_size=0,  # set by the tokenizer it is trained with
    max_positions=64,
    projection=64,
)

SIZES: Final[dict[str, MEDConfig]] = {
    "med-tiny": _TINY,
    # 3 x 3 convolutions would see into hidden patches, so a tower of MAE or BEiT has a plain stem.
    "med-tiny-patch": replace(_TINY, name="med-tiny-patch", stem="patch", output_pos_embed=0.0),
    "med-base": MEDConfig(name="med-base"),
    "med-large": MEDConfig(name="med-large", vision_width=1024, vision_layers=24, vision_heads=16),
}
