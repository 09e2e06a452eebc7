"""R@k of a published-layout BLIP, against the evaluation of BLIP's paper written out with `transformers` alone."""

import io
import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from capfilt.demo.world import describe, jpeg, paraphrase, random_scene
from capfilt.pipelines.evaluation.evaluate import evaluate
from capfilt.pipelines.recipes.load import load_recipe

PHOTOS = Path(__file__).resolve().parents[4] / "shared" / "data" / "flickr8k_112"
COUNT, TEXTS, SIDE, NEAREST = 25, 5, 32, 16
Pair = tuple[Image.Image, list[str]]


def drawn() -> list[Pair]:
    """Pictures of the demo's world, each with a description and four that say it in other words."""
    rng = np.random.default_rng(4)
    scenes = [random_scene(rng) for _ in range(COUNT)]
    return [
        (Image.open(io.BytesIO(jpeg(scene, 64))), [describe(scene), *(paraphrase(scene, rng) for _ in range(4))])
        for scene in scenes
    ]


def photographs() -> list[Pair]:
    """Photographs of Flickr8k, where they lie beside the checkout."""
    if not PHOTOS.is_dir():
        pytest.skip(f"no photographs at {PHOTOS}")
    with tarfile.open(next(iter(sorted(PHOTOS.glob("*.tar"))))) as tar:
        files = {name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]
    keys = sorted({name.partition(".")[0] for name in files})[:COUNT]
    texts = {key: json.loads(files[f"{key}.json"])["captions"] for key in keys}
    return [(Image.open(io.BytesIO(files[f"{key}.jpg"])), texts[key][:TEXTS]) for key in keys]


def at_the_model_s_size(pairs: list[Pair]) -> list[Pair]:
    """Resized here: two libraries that resize differ in last bits, and this is about ranks."""
    return [(image.convert("RGB").resize((SIDE, SIDE)), texts) for image, texts in pairs]


def by_the_paper(folder: Path, pairs: list[Pair], nearest: int) -> dict[str, float]:
    """Section 5.1: the nearest by ITC, put in order by the logit of a match + the cosine; [ENC] comes first."""
    import transformers as tf

    model = tf.BlipForImageTextRetrieval.from_pretrained(folder).eval()
    tokenizer = tf.BertTokenizerFast(vocab=str(folder / "vocab.txt"))
    texts = [text for _, own in pairs for text in own]
    owner = [number for number, (_, own) in enumerate(pairs) for _ in own]
    mean, std = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
    pixels = torch.stack([torch.from_numpy(np.array(image)) for image, _ in pairs]).float() / 255
    plain = [" ".join(re.sub(r"[.!\"()*#:;~]", " ", text.lower()).split()[:30]) for text in texts]  # its preprocessing
    words = tokenizer(plain, padding=True, truncation=True, max_length=35, return_tensors="pt")
    with torch.no_grad():
        states = model.vision_model(((pixels - mean) / std).permute(0, 3, 1, 2)).last_hidden_state
        image = torch.nn.functional.normalize(model.vision_proj(states[:, 0]), dim=-1)
        read = model.text_encoder(words["input_ids"], words["attention_mask"]).last_hidden_state
        text = torch.nn.functional.normalize(model.text_proj(read[:, 0]), dim=-1)
        cosine = image @ text.T
        asked = words["input_ids"].clone()
        asked[:, 0] = model.config.text_config.vocab_size - 1  # [ENC], the last of the words
        match = torch.stack([_match(model, states[[row]], asked, words["attention_mask"]) for row in range(len(pairs))])
    by_image = [_ranks(cosine[row], match[row], nearest) for row in range(len(pairs))]
    by_text = [_ranks(cosine[:, column], match[:, column], nearest) for column in range(len(texts))]
    said: dict[str, set[int]] = {}
    for number, words_of in zip(owner, texts, strict=True):
        said.setdefault(words_of, set()).add(number)
    found = {"tr": [], "ir": []}  # type: dict[str, list[int]]
    for row, order in enumerate(by_image):
        found["tr"].append(next((place for place, column in enumerate(order) if row in said[texts[column]]), 999))
    for column, order in enumerate(by_text):
        found["ir"].append(next((place for place, row in enumerate(order) if row in said[texts[column]]), 999))
    return {f"{side}_{at}": float(np.mean(np.array(found[side]) < at)) for side in ("tr", "ir") for at in (1, 5, 10)}


def _match(model: Any, states: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    read = model.text_encoder(
        ids, mask, encoder_hidden_states=states.expand(len(ids), -1, -1), return_dict=True
    ).last_hidden_state
    logits: torch.Tensor = model.itm_head(read[:, 0])[:, 1]
    return logits


def _ranks(cosine: torch.Tensor, match: torch.Tensor, nearest: int) -> list[int]:
    """The nearest, best match first; behind them all others by ITC."""
    order = cosine.argsort(descending=True)
    near, far = order[:nearest], order[nearest:]
    found: list[int] = [*near[(match[near] + cosine[near]).argsort(descending=True)].tolist(), *far.tolist()]
    return found


@pytest.mark.parametrize(("pairs", "nearest"), [(drawn, 1), (drawn, NEAREST), (photographs, NEAREST)])
def test_a_published_filter_has_the_recall_that_the_paper_s_evaluation_gives(
    pairs: Callable[[], list[Pair]], nearest: int, published: Callable[[str], Path], tmp_path: Path
) -> None:
    """With one candidate the ranks are those of ITC alone."""
    folder, material = published("blip-itm"), at_the_model_s_size(pairs())
    assert [len(texts) for _, texts in material] == [TEXTS] * COUNT
    rows = []
    for image, texts in material:
        sink = io.BytesIO()
        image.save(sink, "PNG")
        rows.append({"image": sink.getvalue(), "captions": [{"text": text, "source": "human"} for text in texts]})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "test.parquet")
    recipe = load_recipe("blip", ("caption.n=0", f'score.judges=["{folder}"]', "decode.min_side=1"))
    measured = evaluate([str(tmp_path / "test.parquet")], recipe, candidates=nearest)
    assert (measured.pictures, measured.texts) == (COUNT, COUNT * TEXTS)
    assert measured.retrieval == pytest.approx(by_the_paper(folder, material, nearest))
    assert 0 < measured.retrieval["tr_10"] < 1  # random weights, and still not all or nothing
