"""LLaVA-NeXT: an image takes as many tokens as processor and model say, and it trains and captions in its own shape."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from capfilt.core.errors import ConfigError
from capfilt.core.schema import TEXT
from capfilt.demo.world import jpeg, web_rows
from capfilt.models.formats.guarded import load_model, load_part
from capfilt.models.normalize import CLIP_MEAN, CLIP_STD
from capfilt.models.pixels import PixelSpec
from capfilt.models.protocols import Decoding
from capfilt.models.registry.registry import Placement, load_captioner
from capfilt.models.systems.llava.build import _lock, _started, connect, processor_of
from capfilt.models.systems.llava.task import LlavaTask
from capfilt.models.systems.llava.tiles import most_tokens, pinpoints, tokens_of
from capfilt.models.systems.llava.turns import PLAIN, row
from capfilt.models.systems.parts.folder import save_folder, squash_processor
from capfilt.models.systems.parts.language_info import IGNORED
from capfilt.models.systems.parts.words import ended
from capfilt.models.training.batch import Batch, shaped
from capfilt.pipelines.training_data.pixel_store import decoded
from capfilt.training.recipes import load_training
from capfilt.training.train import Request, train
from tiny_language import write_language

SIDE, PATCH = 16, 4
TEXTS = ["a red circle", "two blue squares on a white ground", "a circle"]
SIZES = [(40, 30), (20, 48), (33, 33)]  # width and height


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    home = tmp_path_factory.mktemp("next")
    write_language(home / "language", "llama", positions=256)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
    torch.manual_seed(0)
    CLIPVisionModel(CLIPVisionConfig(image_size=SIDE, patch_size=PATCH, **shape)).save_pretrained(home / "tower")
    squash_processor(SIDE, CLIP_MEAN, CLIP_STD).save_pretrained(home / "tower")
    return home


def made(home: Path) -> tuple[Any, Any]:
    tower = load_model("CLIPVisionModel", home / "tower", "cpu", torch.float32)
    language = load_model("AutoModelForCausalLM", home / "language", "cpu", torch.float32)
    words = load_part("AutoTokenizer", home / "language")
    model = connect(tower, language, words, linear=False, tiles=True)
    _lock(model, tuned=False)
    return model, processor_of(model, words, CLIP_MEAN, CLIP_STD, PLAIN.template)


def picture(size: tuple[int, int], seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8))


def batch() -> Batch:
    squares = np.zeros((3, 48, 48, 4), np.uint8)
    for square, (width, height) in zip(squares, SIZES, strict=True):
        square[:height, :width, :3], square[:height, :width, 3] = np.asarray(picture((width, height))), 255
    return Batch(torch.from_numpy(squares), TEXTS)


def test_fifty_shapes_take_the_processor_s_and_the_model_s_tokens(home: Path) -> None:
    model, processor = made(home)
    rng = np.random.default_rng(5)
    sizes = [(int(width), int(height)) for width, height in rng.integers(3, 130, (50, 2))]
    counts = [tokens_of(height, width, pinpoints(SIDE), SIDE, PATCH) for width, height in sizes]
    assert len(set(counts)) > 10
    assert max(counts) <= most_tokens(SIDE, PATCH)
    for size, count in zip(sizes, counts, strict=True):
        inputs = processor(images=[picture(size)], text=[PLAIN.prefix()], return_tensors="pt")
        assert int((inputs["input_ids"] == model.config.image_token_index).sum()) == count, size
        with torch.no_grad():
            features = model.model.get_image_features(inputs["pixel_values"], inputs["image_sizes"]).pooler_output
        assert len(features[0]) == count, size


def test_the_most_tokens_are_taken_by_four_whole_tiles() -> None:
    assert most_tokens(336, 14) == tokens_of(672, 672, pinpoints(336), 336, 14) == 2928


def test_the_loss_is_that_of_the_class_on_the_processor_s_rows(home: Path) -> None:
    model, processor = made(home)
    words, pictures = processor.tokenizer, [picture(size) for size in SIZES]
    loss, _ = LlavaTask(model, processor, PLAIN, 12).eval()(batch())
    inputs = processor(images=pictures, text=[PLAIN.prefix()] * 3, return_tensors="pt", padding=True)
    counts = [tokens_of(height, width, pinpoints(SIDE), SIDE, PATCH) for width, height in SIZES]
    rows = [row(words, [(PLAIN.prefix(), ended(words, text, 12))], n) for text, n in zip(TEXTS, counts, strict=True)]
    longest = max(len(one.ids) for one in rows)
    ids = torch.tensor([one.ids + [words.pad_token_id] * (longest - len(one.ids)) for one in rows])
    labels = torch.tensor([one.labels + [IGNORED] * (longest - len(one.labels)) for one in rows])
    mask = torch.tensor([[1] * len(one.ids) + [0] * (longest - len(one.ids)) for one in rows])
    shown = {name: inputs[name] for name in ("pixel_values", "image_sizes")}
    expected = model(input_ids=ids, attention_mask=mask, labels=labels, **shown).loss
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)


def test_stage_1_moves_connector_and_newline_alone(home: Path) -> None:
    model, processor = made(home)
    task = LlavaTask(model, processor, PLAIN, 12).train()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.AdamW((one for one in task.parameters() if one.requires_grad), lr=1e-2, weight_decay=0.5)
    task(batch())[0].backward()
    optimizer.step()
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert {name.split(".")[1] for name in moved} == {"multi_modal_projector", "image_newline"}


def test_images_of_a_training_keep_their_shape(tmp_path: Path) -> None:
    import io

    blobs = []
    for size in ((90, 45), (40, 120)):
        file = io.BytesIO()
        picture(size).save(file, "PNG")
        blobs.append(file.getvalue())
    squares, reasons = decoded(pa.array([*blobs, b"none"]), PixelSpec(64, "fit"))
    assert squares.shape == (3, 64, 64, 4)
    assert [reason is None for reason in reasons] == [True, True, False]
    seen = shaped(torch.from_numpy(squares[:2].copy()))
    assert [tuple(image.shape) for image in seen] == [(32, 64, 3), (64, 32, 3)]
    assert not squares[0, 32:].any()
    assert seen[0].float().std() > 10


def test_a_plain_llava_goes_on_as_one_that_reads_tiles(home: Path, tmp_path: Path) -> None:
    tower = load_model("CLIPVisionModel", home / "tower", "cpu", torch.float32)
    language = load_model("AutoModelForCausalLM", home / "language", "cpu", torch.float32)
    words = load_part("AutoTokenizer", home / "language")
    plain = connect(tower, language, words, linear=False)
    save_folder(tmp_path, plain, processor_of(plain, words, CLIP_MEAN, CLIP_STD, PLAIN.template))
    tiled = _started(tmp_path, tiles=True)
    assert tiled.config.model_type == "llava_next"
    kept = plain.state_dict()
    assert all(torch.equal(kept[name], tensor) for name, tensor in tiled.state_dict().items() if name in kept)
    assert set(tiled.state_dict()) - set(kept) == {"model.image_newline"}


def test_trained_saved_and_loaded_it_captions_images_of_any_shape(home: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    rows = [
        {"image": jpeg(scene, 40), "captions": [{"text": row.truth, "source": "human"}]}
        for scene, row in web_rows(12, seed=3)
    ]
    fields = [("image", pa.binary()), ("captions", pa.list_(TEXT))]
    pq.write_table(pa.Table.from_pylist(rows, pa.schema(fields)), tmp_path / "pairs.parquet")
    own = [f"model.vision={home / 'tower'}", f"model.language={home / 'language'}", "llava.tiles=true"]
    own += ["schedule.steps=2", "schedule.batch=4", "llava.max_tokens=12"]
    out = tmp_path / "out"
    pairs = (str(tmp_path / "pairs.parquet"),)
    train(Request("llava", pairs, out, load_training("small", "llava", tuple(own))))
    flipped = load_training("small", "llava", (*own, "data.flip=true"))
    with pytest.raises(ConfigError, match="keep their shape are not augmented"):
        train(Request("llava", pairs, tmp_path / "flipped", flipped))
    model, found = AutoModelForImageTextToText.from_pretrained(out, output_loading_info=True)
    assert not any(found[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    captioner = load_captioner(str(out), Placement(device="cpu"))
    assert captioner.pixels.mode == "fit"
    shown = [torch.from_numpy(np.asarray(picture(size, 1)).copy()) for size in SIZES]
    greedy = Decoding(top_p=1e-6, max_tokens=6, min_tokens=0)
    ours = [own[0].text for own in captioner.caption(shown, [[1], [2], [3]], "", greedy)]
    processor = AutoProcessor.from_pretrained(out)
    processor.tokenizer.padding_side = "left"
    inputs = processor(
        images=[picture(size, 1) for size in SIZES], text=["<image>"] * 3, return_tensors="pt", padding=True
    )
    with torch.no_grad():
        ids = model.eval().generate(**inputs, do_sample=False, max_new_tokens=6)[:, inputs["input_ids"].shape[1] :]
    assert ours == [text.strip() for text in processor.tokenizer.batch_decode(ids, skip_special_tokens=True)]
