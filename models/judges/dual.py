"""CLIP and SigLIP as `transformers` saves them, as a judge."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from capfilt.models.formats.guarded import load_model, load_part
from capfilt.models.formats.image_processor import read_image_processor
from capfilt.models.formats.model_info import ModelInfo
from capfilt.models.judges.pairs import flatten, fold, owners
from capfilt.models.normalize import normalize
from capfilt.models.runtime import Placement


class DualJudge:
    """`clip` = the cosine of the image's and the text's feature, -1..1."""

    def __init__(self, info: ModelInfo, digest: str, placement: Placement) -> None:
        self.name = Path(info.name).name
        self.digest = digest
        self.pixels = info.pixels
        self.columns = info.columns
        self.device, self.dtype = placement.resolve()
        settings = read_image_processor(info.folder)
        self.mean, self.std = settings["image_mean"], settings["image_std"]
        self.tokenizer = load_part("AutoTokenizer", info.folder)
        self.model = load_model("AutoModel", info.folder, self.device, self.dtype)

    @torch.inference_mode()
    def score(self, images: Tensor, texts: list[list[str]]) -> dict[str, list[list[float]]]:
        """Cosines of every text of every image; an image goes through its tower once, and so does a text."""
        flat, places = flatten(texts)
        if not flat:
            return {column: [[] for _ in texts] for column in self.columns}
        seen = normalize(images.to(self.device), self.dtype, self.mean, self.std)
        # Cosines in float32: bfloat16 keeps two or three digits, and thresholds differ in the third.
        image = F.normalize(self.model.get_image_features(pixel_values=seen).pooler_output.float(), dim=-1)
        text = F.normalize(self._text(flat).float(), dim=-1)
        cosines = (image[owners(texts)] * text[places]).sum(-1)
        return {column: fold(cosines, texts) for column in self.columns}

    def _text(self, texts: list[str]) -> Tensor:
        """Features [M, E] of texts."""
        length = self.model.config.text_config.max_position_embeddings
        # SigLIP was trained on texts padded to its full length, and sees the padding.
        padding = "max_length" if self.model.config.model_type == "siglip" else True
        words = self.tokenizer(texts, padding=padding, truncation=True, max_length=length, return_tensors="pt")
        asked = {name: words[name].to(self.device) for name in ("input_ids", "attention_mask") if name in words}
        if self.model.config.model_type == "siglip":
            asked.pop("attention_mask", None)
        features: Tensor = self.model.get_text_features(**asked).pooler_output
        return features
