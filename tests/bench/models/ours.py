"""The same work as `reference`, by capfilt."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import torch
from limits import seconds
from material import SEP
from torch import Tensor

from capfilt.core.config import CaptionSettings, DecodeSettings
from capfilt.core.schema import ROWS
from capfilt.models.captioners.med import MedCaptioner
from capfilt.models.judges.med import MAX_TOKENS, MedJudge
from capfilt.models.normalize import normalize
from capfilt.models.protocols import Decoding
from capfilt.models.registry.registry import load_captioner, load_judge
from capfilt.models.runtime import Placement
from capfilt.models.tokenizer import ENC
from capfilt.pipelines.stages.caption import caption
from capfilt.pipelines.stages.decode import decode
from capfilt.pipelines.stages.score import score
from caption_lengths import MOST, ending_draws


def placement(device: str, dtype: str) -> Placement:
    return Placement(device=device, dtype=dtype)


def captioner(folder: Path, device: str, dtype: str) -> MedCaptioner:
    loaded = load_captioner(str(folder), placement(device, dtype))
    assert isinstance(loaded, MedCaptioner)
    return loaded


def judge(folder: Path, device: str, dtype: str) -> MedJudge:
    loaded: Any = load_judge(str(folder), placement(device, dtype))
    loaded = getattr(loaded, "judge", loaded)
    assert isinstance(loaded, MedJudge)
    return loaded


def write(model: MedCaptioner, images: Tensor, n: int, tokens: int) -> Any:
    """n captions of exactly so many tokens."""
    seeds = [[1000 * row + k for k in range(n)] for row in range(len(images))]
    return model.caption(images, seeds, "", Decoding(max_tokens=tokens, min_tokens=tokens + 1))


def write_lengths(model: MedCaptioner, images: Tensor, lengths: list[list[int]]) -> Any:
    """Captions of each image, each of so many tokens, the closing one counted.

    The closing token is made the likeliest for as long as this takes, and the numbers that captions are drawn by say
    where it is taken: all else runs as ever.
    """
    bias, flat = model.model.lm_head.bias.data, [length for row in lengths for length in row]
    before, numbers = bias[SEP].item(), ending_draws(flat)
    bias[SEP] = 0.0
    with patch("capfilt.models.captioners.med.uniforms", lambda *_: numbers):
        written = model.caption(
            images, [[0] * len(row) for row in lengths], "", Decoding(max_tokens=MOST, min_tokens=1)
        )
    bias[SEP] = before
    told = [len(one.text.split()) + 1 - ("cut" in one.flags) for row in written for one in row]
    assert told == flat, "captions are not as long as they were to be"
    return written


@torch.inference_mode()
def itm(model: MedJudge, images: Tensor, texts: list[list[str]]) -> Tensor:
    """ITM alone."""
    weight = model.model.vision.norm.weight
    states = model.model.encode_image(normalize(images.to(weight.device), weight.dtype))
    return read(model, states, texts)


@torch.inference_mode()
def read(model: MedJudge, states: Tensor, texts: list[list[str]]) -> Tensor:
    """ITM of texts, given the image states."""
    ids, mask = model.tokenizer.encode([text for row in texts for text in row], ENC, MAX_TOKENS)
    logits = model.model.itm_logits(
        ids.to(states.device), mask.to(states.device), model.model.text.project_image_kv(states)
    )
    return logits.float().softmax(-1)[:, 1]


def rows(files: list[bytes], given: list[str]) -> pa.Table:
    """A chunk as it comes from the reader."""
    made = [
        {
            "uid": hashlib.sha256(file).hexdigest()[:32],
            "source": f"bench#{place}",
            "texts": [{"source": "web", "text": text}],
            "image": file,
        }
        for place, (file, text) in enumerate(zip(files, given, strict=True))
    ]
    return pa.Table.from_pylist(made, ROWS)


class Chunk:
    """The stages of a run over one chunk, recipe `blip2`."""

    def __init__(self, folders: dict[str, Path], place: Placement, tokens: int) -> None:
        self.captioner = load_captioner(str(folders["captioner"]), place)
        self.judges = [load_judge(str(folders[name]), place) for name in ("itm", "clip")]
        self.pixels = [self.captioner.pixels, *(model.pixels for model in self.judges)]
        self.how = CaptionSettings(n=10, max_tokens=tokens, min_tokens=tokens + 1)

    def run(self, files: list[bytes], given: list[str]) -> dict[str, float]:
        """Seconds by stage."""
        spent: dict[str, float] = {}
        state = rows(files, given)
        stages: dict[str, Callable[[pa.Table], pa.Table]] = {
            "decode": lambda now: decode(now, DecodeSettings(), self.pixels),
            "caption": lambda now: caption(now, [self.captioner], self.how),
            "itm and itc": lambda now: score(now, self.judges[:1]),
            "clip": lambda now: score(now, self.judges[1:]),
        }
        for name, stage in stages.items():
            held = state

            def once(stage: Callable[[pa.Table], pa.Table] = stage, held: pa.Table = held) -> None:
                nonlocal state
                state = stage(held)

            spent[name] = seconds(once)
        assert all(value is None for value in state["reason"].to_pylist())
        return spent
