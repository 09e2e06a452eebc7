"""A Q-Former with its language model as a captioner of a run.

Dimensions: B images, n captions an image, R = B * n rows, T tokens.
"""

from pathlib import Path

import torch
from torch import Tensor

from capfilt.models.captioners.vlm import Streams
from capfilt.models.decoding.sampling import uniforms
from capfilt.models.formats.model_info import ModelInfo
from capfilt.models.normalize import normalize
from capfilt.models.protocols import Caption, Decoding, ImageInput
from capfilt.models.qformer import checkpoint
from capfilt.models.qformer.config import LANGUAGE
from capfilt.models.qformer.language import LanguageModel
from capfilt.models.runtime import Placement


class QFormerCaptioner:
    """Pixels, queries, soft prompt, words."""

    def __init__(self, info: ModelInfo, digest: str, placement: Placement) -> None:
        device, dtype = placement.resolve()
        self.name = Path(info.name).name
        self.digest = digest
        self.bridge, described, _ = checkpoint.load(info.folder)
        self.pixels = described.pixels
        self.prompt = described.prompt
        self.bridge.to(device).eval().vision.to(device)
        self.language = LanguageModel.load(info.folder / LANGUAGE, device, dtype, described.begins)
        self.device = device

    @torch.inference_mode()
    def caption(
        self, images: ImageInput, seeds: list[list[int]], prompt: str, decoding: Decoding
    ) -> list[list[Caption]]:
        """As many captions of each image as it has seeds (the same number for all).

        They start from `prompt`, or from the one the checkpoint was trained with.
        """
        assert isinstance(images, Tensor)
        n = len(seeds[0]) if seeds else 0
        if n == 0:
            return [[] for _ in seeds]
        draws = uniforms([seed for row in seeds for seed in row], decoding.max_tokens).to(self.device)
        streams = Streams(draws, [self.language.stop], decoding)
        states = self.bridge.encode_image(normalize(images.to(self.device), torch.float32))
        # The tower runs in float32 whatever the language model's dtype: the checkpoint was trained so.
        soft = self.bridge.soft_prompt(states).repeat_interleave(n, 0)
        self.language.generate(soft, prompt or self.prompt, decoding.max_tokens, streams)
        captions = [self._caption(ids, logprob) for ids, logprob in streams.drawn()]
        return [captions[first : first + n] for first in range(0, len(captions), n)]

    def _caption(self, ids: list[int], logprob: float) -> Caption:
        words = [token for token in ids if token != self.language.stop]
        text = self.language.tokenizer.decode(words, skip_special_tokens=True)
        return Caption(text.strip(), logprob, () if len(words) < len(ids) else ("cut",))
