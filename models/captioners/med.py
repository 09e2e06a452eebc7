"""BLIP and our own MED as captioners: the image-grounded decoder."""

from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from capfilt.core.errors import ModelError
from capfilt.models.decoding.beam import Search, beam_search
from capfilt.models.decoding.cuda_graphs import GraphSampler
from capfilt.models.decoding.sampling import sample, uniforms
from capfilt.models.formats.checkpoint import describe
from capfilt.models.formats.model_info import ModelInfo
from capfilt.models.formats.weights import load_placed
from capfilt.models.med.model import MED
from capfilt.models.normalize import normalize
from capfilt.models.pixels import PixelSpec
from capfilt.models.protocols import Caption, Decoding, ImageInput
from capfilt.models.runtime import Placement
from capfilt.models.tokenizer import SEP, Tokenizer


class MedCaptioner:
    """The image-grounded decoder of a MED.

    Args:
        prompt: what captions begin with where a run gives no prompt: the one it was trained with.
    """

    def __init__(self, name: str, digest: str, model: MED, tokenizer: Tokenizer, prompt: str = "") -> None:
        self.name = name
        self.digest = digest
        self.prompt = prompt
        self.pixels = PixelSpec(model.config.image_size, "squash")
        self.model = model
        self.tokenizer = tokenizer
        # On CUDA a step is some 250 small kernels that take longer to launch than to run; recorded as a graph they are
        # launched as one.
        on_cuda = model.text.word.weight.device.type == "cuda"
        self.write = GraphSampler(model).sample if on_cuda else partial(sample, model)

    @torch.inference_mode()
    def caption(
        self, images: ImageInput, seeds: list[list[int]], prompt: str, decoding: Decoding
    ) -> list[list[Caption]]:
        """As many captions of each image as it has seeds (the same number for all); of beams, the best in order."""
        assert isinstance(images, Tensor)
        weight = self.model.vision.norm.weight
        n = len(seeds[0]) if seeds else 0
        if n == 0:
            return [[] for _ in seeds]
        image = self.model.text.project_image_kv(
            self.model.encode_image(normalize(images.to(weight.device), weight.dtype))
        )
        start, stop = self.tokenizer.prompt(prompt or self.prompt), self.tokenizer.ids[SEP]
        room = self.model.config.max_positions - len(start) + 1  # the last token is not read
        if decoding.max_tokens > room:
            raise ModelError(
                f"caption.max_tokens = {decoding.max_tokens}: {self.name} has room for {room} tokens after the prompt"
            )
        if decoding.beams:
            how = Search(
                beams=decoding.beams,
                max_tokens=decoding.max_tokens,
                min_tokens=decoding.min_tokens,
                repetition_penalty=decoding.repetition_penalty,
            )
            best = beam_search(self.model, image, start, stop, how)
            ids, logprob = (info[:, :n].flatten(0, 1) for info in best)
        else:
            draws = uniforms([seed for row in seeds for seed in row], decoding.max_tokens).to(weight.device)
            ids, logprob = self.write(image, start, stop, draws, decoding)
        rows = ids.tolist()
        captions = [
            Caption(text, value, () if stop in row else ("cut",))
            for text, row, value in zip(self.tokenizer.decode_all(rows), rows, logprob.tolist(), strict=True)
        ]
        return [captions[first : first + n] for first in range(0, len(captions), n)]


def load_captioner(info: ModelInfo, digest: str, placement: Placement) -> MedCaptioner:
    """The captioner of a checkpoint."""
    model, tokenizer = load_placed(info.folder, placement, for_captioning=True)
    return MedCaptioner(Path(info.name).name, digest, model, tokenizer, describe(info.folder).prompt)
