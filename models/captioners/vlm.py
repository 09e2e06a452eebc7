"""Any image-to-text model of `transformers` as a captioner: BLIP-2, InstructBLIP, LLaVA, Qwen-VL, ...

The processor saved beside the weights makes their inputs. `generate` runs the model, but it does not draw: tokens come
from this project's own nucleus, row by row from the row's own random stream, so that one caption has one stream here
as well. What a model's own generation settings say of penalties and temperatures is set aside; the recipe decides.

Dimensions: B images, n captions an image, R = B * n rows, T tokens, V vocabulary.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image
from torch import Tensor

from capfilt.core.errors import ModelError
from capfilt.models.decoding.sampling import nucleus, uniforms, warp
from capfilt.models.formats.guarded import load_model, load_part
from capfilt.models.formats.model_info import ModelInfo
from capfilt.models.protocols import Caption, Decoding, ImageInput
from capfilt.models.runtime import Placement


class VlmCaptioner:
    """A model of `transformers` that reads an image and continues with text."""

    def __init__(self, info: ModelInfo, digest: str, placement: Placement) -> None:
        self.name = Path(info.name).name
        self.digest = digest
        self.pixels = info.pixels
        self.processor = load_part("AutoProcessor", info.folder)
        if not hasattr(self.processor, "tokenizer"):  # older models have no processor of their own, only its parts
            self.processor = _Parts(load_part("AutoImageProcessor", info.folder), self.processor)
        self.processor.tokenizer.padding_side = "left"  # what is written follows the prompt without a gap
        self.model = load_model("AutoModelForImageTextToText", info.folder, *placement.resolve())
        own = getattr(self.processor, "chat_template", None) or ""
        self.template = {"": own, "none": ""}.get(placement.template, placement.template)
        self.shots = placement.shots
        self.stops = _take_over(self.model, self.processor)
        self.banned = _marks(self.model.config)

    @torch.inference_mode()
    def caption(
        self, images: ImageInput, seeds: list[list[int]], prompt: str, decoding: Decoding
    ) -> list[list[Caption]]:
        """As many captions of each image as it has seeds (the same number for all)."""
        n = len(seeds[0]) if seeds else 0
        if n == 0:
            return [[] for _ in seeds]
        draws = uniforms([seed for row in seeds for seed in row], decoding.max_tokens).to(self.model.device)
        streams = Streams(draws, self.stops, decoding, self.banned)
        inputs = self._inputs(images, prompt)
        self._check_room(inputs["input_ids"].shape[1] if "input_ids" in inputs else 0, decoding.max_tokens)
        # `generate` for its loop and its cache alone: its sampling has one random stream a batch, so a caption would
        # depend on its neighbors.
        self.model.generate(
            **inputs,
            do_sample=True,
            num_return_sequences=n,
            max_new_tokens=decoding.max_tokens,
            logits_processor=transformers.LogitsProcessorList([streams]),
        )
        captions = [self._caption(ids, logprob) for ids, logprob in streams.drawn()]
        return [captions[first : first + n] for first in range(0, len(captions), n)]

    def _inputs(self, images: ImageInput, prompt: str) -> Any:
        # As images of Pillow: of an array, a processor has to guess which axis is the color.
        pictures: list[Any] = [Image.fromarray(image.numpy()) for image in images]
        examples = [shot.picture for shot in self.shots]
        if self.template:
            turns = [*(turn for shot in self.shots for turn in (_asked(prompt), _told(shot.text))), _asked(prompt)]
            text = self.processor.apply_chat_template(turns, chat_template=self.template, add_generation_prompt=True)
            pictures = [[*examples, picture] for picture in pictures]  # the images of each conversation
            inputs = self.processor(images=pictures, text=[text] * len(pictures), return_tensors="pt", padding=True)
        elif examples:  # of Idefics, whose processor takes images and texts in a row
            end = self.processor.tokenizer.eos_token
            texts = [f"{prompt} {shot.text}".strip() + end for shot in self.shots]
            before = [part for pair in zip(examples, texts, strict=True) for part in pair]
            rows = [[*before, picture, *([prompt] if prompt else [])] for picture in pictures]
            inputs = self.processor(text=rows, return_tensors="pt", padding=True)
        else:
            inputs = self.processor(images=pictures, text=[prompt] * len(pictures), return_tensors="pt", padding=True)
        return inputs.to(self.model.device, dtype=self.model.dtype)

    def _check_room(self, prompt: int, most: int) -> None:
        """Raise a `ModelError` where prompt and caption exceed the language model's positions."""
        config = self.model.config.get_text_config(decoder=True)
        positions = getattr(config, "max_position_embeddings", None)
        room = positions and positions - (0 if self.model.config.is_encoder_decoder else prompt)
        if room is not None and most > room:
            raise ModelError(f"caption.max_tokens = {most}: {self.name} has room for {room} tokens after the prompt")

    def _caption(self, ids: list[int], logprob: float) -> Caption:
        ended = any(token in self.stops for token in ids)
        words = [token for token in ids if token not in self.stops]
        text = self.processor.tokenizer.decode(words, skip_special_tokens=True)
        return Caption(text.strip(), logprob, () if ended else ("cut",))


def _asked(prompt: str) -> dict[str, Any]:
    """A turn of the user: an image and the prompt."""
    return {"role": "user", "content": [{"type": "image"}, *([{"type": "text", "text": prompt}] if prompt else [])]}


def _told(text: str) -> dict[str, Any]:
    """A turn of the model: a caption."""
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


class _Parts:
    """Image processor and tokenizer of a model whose decoder starts from nothing: a ViT with GPT-2, and the like."""

    chat_template = ""

    def __init__(self, images: Any, tokenizer: Any) -> None:
        self.image_processor = images
        self.tokenizer = tokenizer

    def __call__(self, images: list[Any], text: list[str], return_tensors: str, padding: bool) -> Any:
        """Pixels alone.

        Raises:
            ModelError: there is a prompt.
        """
        if any(text):
            raise ModelError(f"caption.prompt = {text[0]!r}: this captioner does not support a prompt")
        return self.image_processor(images=images, return_tensors=return_tensors)


class Streams(transformers.LogitsProcessor):
    """Draws the next token of every row and leaves `generate` no other choice.

    Args:
        draws: float [R, T], uniform in [0, 1): a row is the random stream of a caption.
        stops: ids that end a caption.
        banned: ids that are never drawn.
    """

    def __init__(self, draws: Tensor, stops: Sequence[int], decoding: Decoding, banned: Sequence[int] = ()) -> None:
        self.draws = draws
        self.stops = torch.tensor(stops, device=draws.device)
        self.banned = torch.tensor(banned, dtype=torch.int64, device=draws.device)
        self.decoding = decoding
        self.ids: list[Tensor] = []
        self.logprob = torch.zeros(len(draws), device=draws.device)
        self.going = torch.ones(len(draws), dtype=torch.bool, device=draws.device)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The model's own logits [R, V] after tokens [R, T] -> 0 for the token drawn, -inf for all others."""
        step, logits = len(self.ids), scores.float()
        own = logits.log_softmax(-1)
        logits = logits.index_fill(-1, self.banned, float("-inf"))
        if step + 1 < self.decoding.min_tokens:
            logits = logits.index_fill(-1, self.stops, float("-inf"))
        choice = nucleus(warp(logits, input_ids, self.decoding), self.draws[:, step], self.decoding.top_p)
        self.logprob += torch.where(self.going, own.gather(-1, choice[:, None])[:, 0], 0.0)
        self.ids.append(torch.where(self.going, choice, -1))
        self.going = self.going & ~torch.isin(choice, self.stops)
        return torch.full_like(scores, float("-inf")).scatter(-1, choice[:, None], 0.0)

    def drawn(self) -> list[tuple[list[int], float]]:
        """Of every row the ids up to the stop, and the log-probability under the model itself."""
        rows = torch.stack(self.ids, dim=1).tolist()
        return [
            ([token for token in row if token >= 0], logprob)
            for row, logprob in zip(rows, self.logprob.tolist(), strict=True)
        ]


def _marks(config: Any) -> list[int]:
    """Ids of what stands for an image in a row: no words, but a model might write them that never learned not to."""
    mark = getattr(config, "image_token_id", None)
    added = getattr(config, "additional_vocab_size", 0)  # of Idefics, behind the language model's own words
    return [*([] if mark is None else [int(mark)]), *(config.vocab_size + number for number in range(added))]


def _take_over(model: Any, processor: Any) -> list[int]:
    """Set the model's own settings of generation aside, all but its special tokens; the ids that end a caption."""
    inner: Any = getattr(model, "language_model", None)  # of BLIP-2 it is this one that generates
    parts = [part for part in (inner, model) if hasattr(part, "generation_config")]

    def own(name: str) -> list[Any]:
        return [value for part in parts if (value := getattr(part.generation_config, name, None)) is not None]

    ends = [processor.tokenizer.eos_token_id, *own("eos_token_id")]
    flat = [token for end in ends for token in (end if isinstance(end, list) else [end])]
    stops = sorted({int(token) for token in flat if token is not None})
    ids = {name: next(iter(own(name)), None) for name in ("bos_token_id", "decoder_start_token_id")}
    pad = next(iter([*own("pad_token_id"), processor.tokenizer.pad_token_id, stops[0]]))
    library: Any = transformers
    for part in parts:
        # Checkpoints bring penalties, beams and temperatures of their own here, which would be applied beside the
        # recipe's.
        part.generation_config = library.GenerationConfig(**ids, eos_token_id=stops, pad_token_id=pad)
    return stops
