"""CLIP, FLIP, SigLIP and LiT on random weights: against open_clip, `transformers` and towers run by hand."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import transformers
from torch import Tensor
from torch.nn import functional as F

from capfilt.core.errors import ConfigError
from capfilt.models.formats.weights import save_med
from capfilt.models.judges.dual import DualJudge
from capfilt.models.judges.dual_encoder import DualEncoder
from capfilt.models.med.config import MEDConfig
from capfilt.models.med.model import MED
from capfilt.models.normalize import normalize
from capfilt.models.registry.registry import Placement, load_judge
from capfilt.models.systems.dual.build import new_clip, new_siglip, on_tower
from capfilt.models.systems.dual.system import Contrast, DualSize
from capfilt.models.systems.dual.task import MAX_SCALE, DualTask
from capfilt.models.systems.parts.folder import save_folder, squash_processor
from capfilt.models.systems.parts.tower_info import tower_info
from capfilt.models.systems.parts.towers import load_tower, vit_of_med
from capfilt.models.systems.parts.words import own_words
from capfilt.models.systems.registry import SYSTEMS
from capfilt.models.tokenizer import Tokenizer
from capfilt.models.training.batch import Batch
from capfilt.models.training.loop import StepSettings, Trainer
from capfilt.models.training.settings import AdamW, Schedule
from capfilt.training.config import ask
from capfilt.training.recipes import load_training

TEXTS = ["a red circle", "two blue squares on a mat", "the cat sat on a mat", "one green star above"]
SIZE = DualSize(
    image_size=16,
    patch_size=4,
    vision_width=32,
    vision_layers=2,
    vision_heads=4,
    text_width=24,
    text_layers=2,
    text_heads=4,
    max_tokens=12,
    projection=16,
)
WORDS = own_words(TEXTS * 2, SIZE.max_tokens)
MED_SHAPE = MEDConfig(
    image_size=16,
    patch_size=4,
    vision_width=32,
    vision_layers=2,
    vision_heads=4,
    text_width=32,
    text_layers=1,
    text_heads=4,
    text_ffn=64,
    vocab_size=60,
    max_positions=16,
    projection=16,
)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randint(0, 256, (4, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))


def spread(model: Any) -> Any:
    """Weights so large that zeros, orders and activations make a difference."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "logit" not in name:
                centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2 + centre)
    return model


def encoder(kind: str = "clip", **wanted: Any) -> DualEncoder:
    """A random dual encoder of each class."""
    asked = Contrast(**wanted)
    if kind == "clip":
        return DualEncoder(spread(new_clip(SIZE, WORDS, asked)), WORDS)
    if kind == "siglip":
        return DualEncoder(spread(new_siglip(SIZE, WORDS, asked)), WORDS)
    whole = spread(MED(MED_SHAPE) if kind == "vit tower" else new_clip(SIZE, WORDS, asked))
    tower = vit_of_med(whole) if kind == "vit tower" else whole.vision_model
    return DualEncoder(on_tower(tower, SIZE, WORDS, asked), WORDS)


def open_clip_loss(name: str) -> Any:
    return getattr(import_module("open_clip.loss"), name)()


def open_clip_of(model: Any, activation: str) -> Any:
    """The same weights in open_clip."""
    vision, text = ({"width": w, "layers": 2} for w in (SIZE.vision_width, SIZE.text_width))
    vision |= {"image_size": 16, "patch_size": 4, "head_width": SIZE.vision_width // 4}
    text |= {"context_length": SIZE.max_tokens, "vocab_size": len(WORDS), "heads": 4}
    text |= {"pool_type": "eos", "eos_id": WORDS.eos_token_id}
    library: Any = import_module("open_clip")  # late: it takes 4 s, in every process that collects the suite
    theirs = library.CLIP(SIZE.projection, vision, text, quick_gelu=activation == "quick_gelu").eval()
    own, found = model.state_dict(), {}
    for side, prefix in (("vision_model", "visual."), ("text_model", "")):
        tower = {name.removeprefix(f"{side}."): tensor for name, tensor in own.items() if name.startswith(side)}
        for number in range(2):
            layer, block = f"encoder.layers.{number}.", f"{prefix}transformer.resblocks.{number}."
            for kind in ("weight", "bias"):
                parts = [tower[f"{layer}self_attn.{part}_proj.{kind}"] for part in "qkv"]
                found[f"{block}attn.in_proj_{kind}"] = torch.cat(parts)
                for theirs_name, ours in (
                    ("attn.out_proj", "self_attn.out_proj"),
                    ("ln_1", "layer_norm1"),
                    ("ln_2", "layer_norm2"),
                    ("mlp.c_fc", "mlp.fc1"),
                    ("mlp.c_proj", "mlp.fc2"),
                ):
                    found[f"{block}{theirs_name}.{kind}"] = tower[f"{layer}{ours}.{kind}"]
    vision_names = {
        "embeddings.class_embedding": "class_embedding",
        "embeddings.patch_embedding.weight": "conv1.weight",
        "embeddings.position_embedding.weight": "positional_embedding",
        "pre_layrnorm.weight": "ln_pre.weight",
        "pre_layrnorm.bias": "ln_pre.bias",
        "post_layernorm.weight": "ln_post.weight",
        "post_layernorm.bias": "ln_post.bias",
    }
    found |= {f"visual.{theirs}": own[f"vision_model.{ours}"] for ours, theirs in vision_names.items()}
    found |= {
        "token_embedding.weight": own["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": own["text_model.embeddings.position_embedding.weight"],
        "ln_final.weight": own["text_model.final_layer_norm.weight"],
        "ln_final.bias": own["text_model.final_layer_norm.bias"],
        "visual.proj": own["visual_projection.weight"].T,
        "text_projection": own["text_projection.weight"].T,
        "logit_scale": own["logit_scale"],
    }
    theirs.load_state_dict(found)
    return theirs


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_features_and_loss_of_clip_are_those_of_open_clip(images: Tensor, activation: str) -> None:
    ours = encoder()
    config = ours.model.config
    config.vision_config.hidden_act = config.text_config.hidden_act = activation
    same_weights = spread(transformers.CLIPModel(config).eval())
    ours = DualEncoder(same_weights, WORDS)
    theirs = open_clip_of(same_weights, activation)
    ids = ours.words(TEXTS)["input_ids"]
    with torch.no_grad():
        image = theirs.encode_image(normalize(images, torch.float32), normalize=True)
        text = theirs.encode_text(F.pad(ids, (0, SIZE.max_tokens - ids.shape[1])), normalize=True)
        assert (ours.image_features(images) - image).abs().max() < 1e-5
        assert (ours.text_features(TEXTS) - text).abs().max() < 1e-5
        loss, _ = DualTask(ours, Contrast())(Batch(images, TEXTS))
        assert float(loss) == pytest.approx(
            float(open_clip_loss("ClipLoss")(image, text, theirs.logit_scale.exp())), abs=1e-5
        )


@pytest.mark.parametrize("kind", ["clip", "siglip", "clip tower", "vit tower"])
def test_the_loss_of_a_batch_is_that_of_transformers(images: Tensor, kind: str) -> None:
    asked = {"loss": "sigmoid", "temperature": 0.1, "bias": -10.0} if kind == "siglip" else {"lock": "tower" in kind}
    ours = encoder(kind, **asked)
    pixels, words = normalize(images, torch.float32), ours.words(TEXTS)
    with torch.no_grad():
        theirs = ours.model(pixel_values=pixels, return_loss=True, **words)
        loss, _ = DualTask(ours, Contrast(**asked))(Batch(images, TEXTS))
        assert float(loss) == pytest.approx(float(theirs.loss), abs=1e-5)
        if kind == "siglip":
            image, text = ours.image_features(images), ours.text_features(TEXTS)
            open_loss = open_clip_loss("SigLipLoss")(image, text, ours.model.logit_scale.exp(), ours.model.logit_bias)
            assert float(loss) == pytest.approx(float(open_loss), abs=1e-5)
            assert (float(ours.model.logit_scale.exp()), float(ours.model.logit_bias)) == (pytest.approx(10), -10)


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_pairs_of_one_text_or_one_image_are_not_pushed_apart(
    images: Tensor, loss: Literal["softmax", "sigmoid"]
) -> None:
    """The loss of a batch whose second half repeats the first asks every repeated pair for a high score."""
    ours = encoder("siglip" if loss == "sigmoid" else "clip")
    task = DualTask(ours, Contrast(loss=loss))
    texts = [TEXTS[0], TEXTS[1], TEXTS[0], TEXTS[3]]
    keys = [0, 1, 2, 1]  # rows 0 and 2 share a text, rows 1 and 3 an image
    with torch.no_grad():
        value, _ = task(Batch(images, texts, keys=keys))
        scores = ours.model.logit_scale.exp() * ours.image_features(images) @ ours.text_features(texts).T
        same = torch.eye(4, dtype=torch.bool)
        same[0, 2] = same[2, 0] = same[1, 3] = same[3, 1] = True
        if loss == "sigmoid":
            scores = scores + ours.model.logit_bias
            plain = -float(torch.where(same, scores, -scores).sigmoid().log().sum()) / 4
        else:
            plain = 0.0
            for rows in (scores, scores.T):
                plain -= sum(float(rows[i].log_softmax(0)[same[i]].mean()) for i in range(4)) / 8
    assert float(value) == pytest.approx(plain, abs=1e-5)


def gradients(task: DualTask, batch: Batch) -> dict[str, Tensor]:
    task.zero_grad()
    loss, _ = task(batch)
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in task.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("kind", ["clip", "siglip"])
@pytest.mark.parametrize("drop", [0.0, 0.5])
def test_a_batch_in_parts_has_the_gradients_of_the_whole_one(images: Tensor, kind: str, drop: float) -> None:
    """Parts see the negatives of all parts, and drop the same patches when they are computed again."""
    if kind == "siglip":
        drop = 0.0
    model, batch = encoder(kind), Batch(images, TEXTS)
    loss: Literal["softmax", "sigmoid"] = "sigmoid" if kind == "siglip" else "softmax"
    whole, parts = ({}, {})
    for part, found in ((0, whole), (3, parts)):
        found |= gradients(DualTask(model, Contrast(loss=loss, drop=drop, part=part), seed=4).train(), batch)
    assert whole.keys() == parts.keys()
    scale = max(float(own.abs().max()) for own in whole.values())
    assert all((own - parts[name]).abs().max() <= 1e-6 * scale for name, own in whole.items())


def test_flip_without_a_drop_is_clip_and_else_sees_the_kept_patches_alone(images: Tensor) -> None:
    model, batch = encoder(), Batch(images, TEXTS)
    tower, vision = model.model.vision_model, normalize(images, torch.float32)
    with torch.no_grad():
        plain, _ = DualTask(model, Contrast())(batch)
        none, _ = DualTask(model, Contrast(drop=0.01, part=2))(batch)  # of 16 patches one is left out at least
        assert float(none) != float(plain)
        task = DualTask(model, Contrast(drop=0.75), seed=9)
        kept = task._draw_kept(4)
        assert kept is not None
        assert kept.shape == (4, 4)
        assert len({tuple(sorted(row)) for row in kept.tolist()}) > 1
        by_hand = []
        for row, places in enumerate(kept.tolist()):
            tokens = tower.embeddings(vision[row : row + 1])
            seen = tokens[:, [0, *(place + 1 for place in places)]]
            state = tower.encoder(inputs_embeds=tower.pre_layrnorm(seen)).last_hidden_state[:, 0]
            by_hand.append(F.normalize(model.model.visual_projection(tower.post_layernorm(state)), dim=-1))
        assert (task._seen(images, kept) - torch.cat(by_hand)).abs().max() < 1e-6
        assert torch.equal(task.encoder.image_features(images), model.image_features(images))  # judged whole


def test_the_scale_is_bounded_after_each_update_of_clip(images: Tensor) -> None:
    task = DualTask(encoder(), Contrast())
    scale = task.encoder.model.logit_scale
    for before, after in ((9.0, MAX_SCALE), (-1.0, 0.0), (2.0, 2.0)):
        scale.data.fill_(before)
        task.after_update()
        assert scale.item() == pytest.approx(after)
    assert pytest.approx(math.exp(MAX_SCALE)) == 100
    free = DualTask(encoder("siglip"), Contrast(loss="sigmoid"))
    free.encoder.model.logit_scale.data.fill_(9.0)
    free.after_update()
    assert free.encoder.model.logit_scale.item() == 9.0


def test_features_are_not_remembered_of_images_that_are_augmented(images: Tensor) -> None:
    task = DualTask(encoder("clip tower", lock=True), Contrast(lock=True), remembers=False)
    keys = [7, 8, 9, 10]
    first, other = (float(task(Batch(seen, TEXTS, keys=keys))[0].detach()) for seen in (images, images.flip(0)))
    assert first != other
    asked = load_training("small", "lit", ("model.vision=x", "data.crop=0.5"))
    assert ask(SYSTEMS["lit"], asked).augments


@pytest.mark.parametrize("kind", ["clip tower", "vit tower"])
def test_a_locked_tower_stays_to_the_bit_and_sees_each_image_once(images: Tensor, kind: str) -> None:
    ours = encoder(kind, lock=True)
    task = DualTask(ours, Contrast(lock=True))
    tower, before = ours.model.vision_model, ours.image_features(images)
    weights = {name: tensor.clone() for name, tensor in tower.state_dict().items()}
    seen: list[int] = []
    tower.register_forward_hook(lambda *_: seen.append(1))
    batches = iter([(Batch(images, TEXTS, keys=[7, 8, 9, 10]), "")] * 3)
    trainer = Trainer(task, Schedule(steps=3, rate=0.1), AdamW(weight_decay=0.5), StepSettings())
    trainer.run(batches, lambda _: None, lambda _: None)
    assert len(seen) == 1
    assert all(torch.equal(weights[name], tensor) for name, tensor in tower.state_dict().items())
    assert torch.equal(ours.image_features(images), before)
    with torch.no_grad():
        pooled = tower(pixel_values=normalize(images, torch.float32)).pooler_output
    assert (F.normalize(pooled, dim=-1) - before).abs().max() < 1e-6  # as LiT has it: no head
    assert not task.train().encoder.model.vision_model.training
    assert not [name for name in trainer.state()["task"] if "vision_model" in name or "visual_projection" in name]


def test_the_tower_of_a_med_is_a_vit(images: Tensor, tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_words(TEXTS)
    med = spread(MED(replace(MED_SHAPE, vocab_size=len(tokenizer)))).eval()
    save_med(tmp_path / "med", med, tokenizer, ("filter",))
    pixels = normalize(images, torch.float32)
    vit = load_tower(tower_info(str(tmp_path / "med")))
    with torch.no_grad():
        states, theirs = med.encode_image(pixels), vit(pixel_values=pixels)
    assert (states - theirs.last_hidden_state).abs().max() < 2e-5
    assert (states[:, 0] - theirs.pooler_output).abs().max() < 2e-5


@pytest.mark.parametrize("kind", ["clip", "siglip", "clip tower", "vit tower"])
def test_a_checkpoint_is_what_the_library_loads(images: Tensor, tmp_path: Path, kind: str) -> None:
    ours = encoder(kind, lock="tower" in kind)
    name = {"clip": "CLIPProcessor", "siglip": "SiglipProcessor"}.get(kind, "VisionTextDualEncoderProcessor")
    images_of = squash_processor(16, ours.mean, ours.std)
    save_folder(tmp_path, ours.model, getattr(transformers, name)(image_processor=images_of, tokenizer=WORDS))
    theirs, told = transformers.AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(told.values())
    processor = transformers.AutoProcessor.from_pretrained(tmp_path)
    pictures = [image.numpy() for image in images]
    padding = "max_length" if kind == "siglip" else True
    made = processor(images=pictures, text=TEXTS, return_tensors="pt", padding=padding, truncation=True)
    if kind == "siglip":
        made.pop("attention_mask", None)
    made.pop("token_type_ids", None)
    with torch.no_grad():
        out = theirs.eval()(**made)
        assert torch.equal(out.image_embeds, ours.model.eval()(**made).image_embeds)
        assert (out.image_embeds - ours.image_features(images)).abs().max() < 1e-5
        assert (out.text_embeds - ours.text_features(TEXTS)).abs().max() < 1e-5
    judge = load_judge(str(tmp_path), Placement(device="cpu"))
    assert isinstance(judge, DualJudge)
    scores = judge.score(images, [TEXTS] * 4)["clip"]
    assert (torch.tensor(scores) - out.image_embeds @ out.text_embeds.T).abs().max() < 1e-5


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, strong: MED) -> Path:
    """Checkpoints by name: a CLIP, a SigLIP, a MED of the demo's shape."""
    home = tmp_path_factory.mktemp("folders")
    for kind in ("clip", "siglip"):
        own = encoder(kind)
        name = {"clip": "CLIPProcessor", "siglip": "SiglipProcessor"}[kind]
        pixels = squash_processor(16, own.mean, own.std)
        save_folder(home / kind, own.model, getattr(transformers, name)(image_processor=pixels, tokenizer=WORDS))
    save_med(home / "med", strong, Tokenizer.from_words(TEXTS), ("filter",))
    (home / "gpt").mkdir()
    (home / "gpt" / "config.json").write_text(json.dumps({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}))
    return home


@pytest.mark.parametrize(
    ("system", "settings", "said"),
    [
        ("clip", ("model.size=med-tiny",), r"model\.size = 'med-tiny' is not known; there are: dual-tiny"),
        ("clip", ("model.image_size=20",), r"model\.image_size = 20 is not a multiple of the patches' 8"),
        (
            "clip",
            ("model.start=HOME/med",),
            r"model\.start = .*: its model type is capfilt-med, a dual",
        ),
        ("clip", ("model.start=HOME/clip", "model.image_size=32"), r"model\.image_size = 32: .* takes 16 pixels"),
        (
            "clip",
            ("model.start=HOME/clip", "model.vision=HOME/clip"),
            r"model\.vision: model\.start has one",
        ),
        ("flip", ("model.start=HOME/siglip",), r"contrast\.drop: .* pools all patches"),
        ("lit", (), r"contrast\.lock: model\.vision must name the image tower"),
        ("lit", ("model.vision=HOME/med",), r"model\.vision = .*: its image tower is no plain ViT \(stem = 'conv'\)"),
        ("lit", ("model.vision=HOME/gpt",), r"model\.vision = .*: no image tower is taken of a gpt2"),
        ("lit", ("model.vision=HOME/clip", "model.image_size=32"), r"model\.image_size = 32: .* takes 16 pixels"),
        ("lit", ("model.vision=HOME/clip", "model.features=frozen"), r"model\.features = 'frozen': that is for a MED"),
        ("lit", ("model.vision=HOME/clip", "contrast.drop=0.5"), "a locked tower is not trained, so drop must be 0"),
        ("siglip", ("contrast.temperature=0",), r"contrast\.temperature = 0: Input should be greater"),
    ],
)
def test_mistakes_are_named_before_any_work(folders: Path, system: str, settings: tuple[str, ...], said: str) -> None:
    named = tuple(change.replace("HOME", str(folders)) for change in settings)
    with pytest.raises(ConfigError, match=said):
        SYSTEMS[system].check(ask(SYSTEMS[system], load_training("small", system, named)))


def test_a_start_keeps_its_class_and_its_words(folders: Path) -> None:
    build: Callable[..., Any] = SYSTEMS["flip"].code().build
    from capfilt.models.training.group import Group

    settings = (f"model.start={folders / 'clip'}",)
    job = build(ask(SYSTEMS["flip"], load_training("small", "flip", settings)), iter(["new words"]), Group())
    assert type(job.task.encoder.model) is transformers.CLIPModel
    assert len(job.task.encoder.tokenizer) == len(WORDS)
