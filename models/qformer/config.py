"""How large a Q-Former is."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class QFormerConfig:
    """Shape of a Q-Former; the defaults are the paper's: BERT-base and 32 queries (BLIP-2, section 3.1)."""

    queries: int = 32
    width: int = 768
    layers: int = 12
    heads: int = 12
    ffn: int = 3072
    cross_every: int = 2  # the first layer of so many sees the image
    vision_width: int = 768
    vocab_size: int = 30523  # BERT's 30522 + [DEC]
    max_positions: int = 512
    projection: int = 256  # width of the ITC features

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")

    def to_dict(self) -> dict[str, Any]:
        """What `config.json` holds."""
        return asdict(self)
