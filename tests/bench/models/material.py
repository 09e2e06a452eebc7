"""What the benchmark runs on, all of it made here: words, checkpoints of random weights, photos and texts."""

import io
import json
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from PIL import Image

Kind = Literal["BlipForConditionalGeneration", "BlipForImageTextRetrieval"]

VOCABULARY: Final = 30_522  # BERT's size; [DEC] and [ENC] follow
SEP: Final = 102
DEC: Final = VOCABULARY
WIDTHS: Final[dict[str, dict[str, Any]]] = {
    "base": {},
    "large": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16},
}
CLIP_MEAN: Final = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}


@cache
def vocabulary() -> list[str]:
    """A vocabulary of BERT's form, frequent words first; each word is also one token of CLIP's."""
    from open_clip.tokenizer import SimpleTokenizer

    ends = [piece.removesuffix("</w>") for piece in SimpleTokenizer().encoder if piece.endswith("</w>")]
    words = [word for word in ends if word.isascii() and word.isalpha() and len(word) > 1]
    special = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", SEP: "[SEP]", 103: "[MASK]"}
    head = [special.get(place, f"[unused{place}]") for place in range(104)]
    letters = [prefix + letter for letter in "abcdefghijklmnopqrstuvwxyz0123456789" for prefix in ("", "##")]
    known = [*head, *letters, *words][:VOCABULARY]
    return known + [f"[more{place}]" for place in range(VOCABULARY - len(known))]


def blip(folder: Path, kind: Kind, size: str, side: int = 384) -> Path:
    """A BLIP as `transformers` saves it.

    The bias of the captioner's head makes words as unequal as trained ones are (or every nucleus would be the whole
    vocabulary), and only whole words are likely, so that a caption of 20 tokens is read as 20 tokens by a judge.
    """
    import transformers

    if (folder / "config.json").is_file():
        return folder
    torch.manual_seed(0)
    vision = {"initializer_range": 0.02, "image_size": side, **WIDTHS[size]}
    text = {"num_attention_heads": 12, "encoder_hidden_size": vision.get("hidden_size", 768)}
    model = getattr(transformers, kind)(transformers.BlipConfig(vision_config=vision, text_config=text))
    if kind == "BlipForConditionalGeneration":
        place = torch.arange(VOCABULARY + 2, dtype=torch.float32)
        likely = torch.tensor([word.isalpha() and len(word) > 1 for word in [*vocabulary(), "[DEC]", "[ENC]"]])
        bias = torch.where(likely, -2.0 * (place - 170).clamp(min=2).log(), -30.0)
        model.text_decoder.cls.predictions.bias.data.copy_(bias)
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(vocabulary()) + "\n", encoding="utf-8")
    return folder


def clip(folder: Path, name: str) -> Path:
    """An open_clip model by its name (ViT-B-32, ViT-L-14), as open_clip saves it."""
    import open_clip
    from safetensors.torch import save_file

    if (folder / "open_clip_config.json").is_file():
        return folder
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    weights = open_clip.create_model(name).state_dict()
    save_file({key: value.contiguous() for key, value in weights.items()}, folder / "open_clip_model.safetensors")
    described = {"model_cfg": open_clip.get_model_config(name), "preprocess_cfg": CLIP_MEAN}
    (folder / "open_clip_config.json").write_text(json.dumps(described), encoding="utf-8")
    return folder


def photos(count: int) -> list[bytes]:
    """JPEGs of 640 x 480 with broad shapes and fine grain, about 100 kB each, as pictures of the web have them."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count):
        broad = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize((640, 480))
        grain = rng.normal(0, 12, (480, 640, 1))
        picture = Image.fromarray((np.asarray(broad) + grain).clip(0, 255).astype(np.uint8))
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=85)
        made.append(stream.getvalue())
    return made


def texts(images: int, each: int, tokens: int | None) -> list[list[str]]:
    """Texts of so many tokens, or as long as people's captions are (6 to 25 tokens, 11.5 in the middle)."""
    rng = np.random.default_rng(1)
    words = [word for word in vocabulary() if word.isalpha() and len(word) > 1][:2000]
    natural = rng.normal(11.5, 3.5, (images, each)).round().clip(6, 25).astype(int)
    lengths = natural if tokens is None else np.full((images, each), tokens)
    return [[" ".join(rng.choice(words, length)) for length in row] for row in lengths]


def pixels(images: int, side: int) -> torch.Tensor:
    """uint8 [images, side, side, 3]."""
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, 256, (images, side, side, 3), dtype=torch.uint8, generator=generator)
