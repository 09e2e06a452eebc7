"""What the benchmark compares with: `transformers` and `open_clip`, used well (A) and one at a time (B).

A: `generate` with `num_return_sequences`, the image tower once a batch, all texts of a batch in one pass.
B: one image, one candidate, one text at a time, the image encoded anew for each: what today's pipelines do.
"""

import io
from pathlib import Path
from typing import Any

import torch
from material import SEP
from PIL import Image
from torch import Tensor
from torch.nn import functional as F


class Captioner:
    """`BlipForConditionalGeneration`."""

    def __init__(self, folder: Path, device: str, dtype: torch.dtype) -> None:
        import transformers

        self.model = transformers.BlipForConditionalGeneration.from_pretrained(folder, dtype=dtype).to(device).eval()
        self.words = transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt"))

    @torch.inference_mode()
    def caption(self, pixels: Tensor, n: int, tokens: int) -> list[str]:
        """A: n captions of each image [B, 3, S, S] in one call."""
        length = {"max_new_tokens": tokens, "min_new_tokens": tokens}
        draw = {"do_sample": True, "top_p": 0.9, "top_k": 0, "num_return_sequences": n}
        return list(self.words.batch_decode(self.model.generate(pixels, **draw, **length), skip_special_tokens=True))

    @torch.inference_mode()
    def caption_lengths(self, pixels: Tensor, lengths: list[list[int]]) -> list[str]:
        """A: captions of each image in one call, each of so many tokens, the closing one counted."""
        import transformers

        flat = torch.tensor([length for row in lengths for length in row], device=pixels.device)
        ends = transformers.LogitsProcessorList([_Ends(flat)])
        draw = {"do_sample": True, "top_p": 0.9, "top_k": 0, "num_return_sequences": len(lengths[0])}
        ids = self.model.generate(pixels, **draw, max_new_tokens=int(flat.max()), logits_processor=ends)
        written = [row.tolist().index(SEP, 2) for row in ids]  # behind [DEC] and the [SEP] that stands in its place
        assert len(set(written)) > 1 or len(set(flat.tolist())) == 1
        return list(self.words.batch_decode(ids, skip_special_tokens=True))

    def caption_lengths_one_by_one(self, pixels: Tensor, lengths: list[list[int]]) -> list[str]:
        """B."""
        return [
            self.caption(one[None], 1, length)[0] for one, row in zip(pixels, lengths, strict=True) for length in row
        ]

    def caption_one_by_one(self, pixels: Tensor, n: int, tokens: int) -> list[str]:
        """B."""
        return [self.caption(one[None], 1, tokens)[0] for one in pixels for _ in range(n)]


class _Ends:
    """Lets each caption [R] end at its length, as `transformers` calls processors of logits."""

    def __init__(self, lengths: Tensor) -> None:
        self.lengths, self.step = lengths, 0

    def __call__(self, _: Tensor, scores: Tensor) -> Tensor:
        self.step += 1
        ends = self.lengths == self.step
        scores = scores.masked_fill(ends[:, None], float("-inf"))
        scores[:, SEP] = torch.where(ends, 0.0, float("-inf"))
        return scores


class Filter:
    """`BlipForImageTextRetrieval`."""

    def __init__(self, folder: Path, device: str, dtype: torch.dtype) -> None:
        import transformers

        self.model = transformers.BlipForImageTextRetrieval.from_pretrained(folder, dtype=dtype).to(device).eval()
        self.words = transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt"))

    def _read(self, texts: list[str], device: torch.device) -> Any:
        return self.words(texts, padding=True, truncation=True, max_length=35, return_tensors="pt").to(device)

    @torch.inference_mode()
    def encode_image(self, pixels: Tensor) -> Tensor:
        states: Tensor = self.model.vision_model(pixels).last_hidden_state
        return states

    @torch.inference_mode()
    def itm(self, states: Tensor, texts: list[list[str]]) -> Tensor:
        """A: the texts of all images in one pass, the states of an image repeated for each of its texts."""
        read = self._read([text for row in texts for text in row], states.device)
        seen = states.repeat_interleave(len(texts[0]), 0)
        mask = torch.ones(seen.shape[:2], dtype=torch.long, device=seen.device)
        out = self.model.text_encoder(**_plain(read), encoder_hidden_states=seen, encoder_attention_mask=mask)
        logits: Tensor = self.model.itm_head(out.last_hidden_state[:, 0])
        return logits.float().softmax(-1)[:, 1]

    @torch.inference_mode()
    def itc(self, states: Tensor, texts: list[list[str]]) -> Tensor:
        """A: cosines, with the states that `itm` used."""
        read = self._read([text for row in texts for text in row], states.device)
        first = self.model.text_encoder(**_plain(read)).last_hidden_state[:, 0]
        text = F.normalize(self.model.text_proj(first), dim=-1)
        image = F.normalize(self.model.vision_proj(states[:, 0]), dim=-1).repeat_interleave(len(texts[0]), 0)
        return (image * text).float().sum(-1)

    @torch.inference_mode()
    def itm_one_by_one(self, pixels: Tensor, texts: list[list[str]]) -> Tensor:
        """B."""
        found = []
        for one, row in zip(pixels, texts, strict=True):
            for text in row:
                read = _plain(self._read([text], pixels.device))
                found.append(self.model(pixel_values=one[None], **read, use_itm_head=True)[0].float().softmax(-1)[:, 1])
        return torch.cat(found)


class Clip:
    """An open_clip model."""

    def __init__(self, folder: Path, device: str, dtype: torch.dtype) -> None:
        import open_clip

        self.model, _, self.transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
        self.model = self.model.to(device, dtype).eval()
        self.words = open_clip.get_tokenizer(f"local-dir:{folder}")

    @torch.inference_mode()
    def score(self, pixels: Tensor, texts: list[list[str]]) -> Tensor:
        """A: each image once, all texts in one pass of 77 tokens each."""
        ids = self.words([text for row in texts for text in row]).to(pixels.device)
        image = F.normalize(self.model.encode_image(pixels), dim=-1).repeat_interleave(len(texts[0]), 0)
        return (image * F.normalize(self.model.encode_text(ids), dim=-1)).float().sum(-1)

    def score_one_by_one(self, pixels: Tensor, texts: list[list[str]]) -> Tensor:
        """B."""
        pairs = [(one[None], [[text]]) for one, row in zip(pixels, texts, strict=True) for text in row]
        return torch.cat([self.score(one, text) for one, text in pairs])


class Chunk:
    """The whole of a chunk: JPEGs in, captions and scores out."""

    def __init__(self, captioner: Captioner, judge: Filter, clip: Clip, device: str, dtype: torch.dtype) -> None:
        import transformers

        self.captioner, self.judge, self.clip = captioner, judge, clip
        self.resize = transformers.BlipImageProcessor(size={"height": 384, "width": 384})
        self.device, self.dtype = device, dtype

    def pixels(self, files: list[bytes]) -> tuple[Tensor, Tensor]:
        """A decodes a file once for all three models."""
        pictures = [Image.open(io.BytesIO(file)).convert("RGB") for file in files]
        blip = self.resize(pictures, return_tensors="pt")["pixel_values"]
        clip = torch.stack([self.clip.transform(picture) for picture in pictures])
        return blip.to(self.device, self.dtype), clip.to(self.device, self.dtype)

    def run_well(self, files: list[bytes], given: list[str], n: int, tokens: int) -> dict[str, Tensor]:
        """A: n captions, then ITM, ITC and CLIP of those and the given text."""
        blip, clip = self.pixels(files)
        texts = _beside(given, self.captioner.caption(blip, n, tokens))
        states = self.judge.encode_image(blip)
        itm, itc = self.judge.itm(states, texts), self.judge.itc(states, texts)
        return {"itm": itm, "itc": itc, "clip": self.clip.score(clip, texts)}

    def run_one_by_one(self, files: list[bytes], given: list[str], n: int, tokens: int) -> dict[str, Tensor]:
        """B. Each model decodes for itself. ITC is left out: it would encode every image once more for every text."""
        texts = _beside(given, self.captioner.caption_one_by_one(self.pixels(files)[0], n, tokens))
        itm = self.judge.itm_one_by_one(self.pixels(files)[0], texts)
        return {"itm": itm, "clip": self.clip.score_one_by_one(self.pixels(files)[1], texts)}


def _beside(given: list[str], written: list[str]) -> list[list[str]]:
    n = len(written) // len(given)
    return [[text, *written[row * n : (row + 1) * n]] for row, text in enumerate(given)]


def _plain(read: Any) -> dict[str, Tensor]:
    return {name: read[name] for name in ("input_ids", "attention_mask")}


def load(folders: dict[str, Path], device: str, dtype: torch.dtype) -> tuple[Captioner, Filter, Clip]:
    """The three models of a chunk."""
    captioner = Captioner(folders["captioner"], device, dtype)
    return captioner, Filter(folders["itm"], device, dtype), Clip(folders["clip"], device, dtype)
