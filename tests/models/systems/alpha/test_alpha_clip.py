"""Alpha-CLIP begins as the CLIP it starts from, sees its masks as the published network does, and is read safely."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from capfilt.core.errors import ConfigError, ModelError, UserError
from capfilt.models.judges.alpha_encoder import MEAN, ONES, STD, WEIGHT, AlphaEncoder, mask_of
from capfilt.models.judges.dual_encoder import DualEncoder
from capfilt.models.normalize import normalize
from capfilt.models.pixels import PixelSpec
from capfilt.models.registry.registry import Placement, load_judge
from capfilt.models.systems.alpha.task import AlphaTask
from capfilt.models.systems.dual.build import new_clip, processor
from capfilt.models.systems.dual.system import Contrast
from capfilt.models.systems.dual.task import DualTask
from capfilt.models.systems.parts.folder import save_folder
from capfilt.models.systems.parts.words import own_words
from capfilt.models.systems.registry import SYSTEMS
from capfilt.models.training.batch import Batch
from capfilt.models.training.loop import StepSettings, Trainer
from capfilt.models.training.settings import AdamW, Schedule
from capfilt.training.config import ask
from capfilt.training.recipes import load_training
from tiny_clip import SIZE

TEXTS = ["a red circle", "two blue squares on a mat", "the cat sat on a mat"]
BOXES = [None, (0.0, 0.25, 0.5, 1.0), (0.3, 0.3, 0.35, 0.35)]


def images() -> Tensor:
    return torch.randint(0, 256, (3, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def clip(seed: int = 0) -> DualEncoder:
    torch.manual_seed(seed)
    words = own_words(TEXTS * 2, SIZE.max_tokens)
    model = new_clip(SIZE, words, Contrast()).eval()
    for parameter in model.parameters():  # zeros of a new model would hide what reads the wrong one
        torch.nn.init.normal_(parameter, std=0.2)
    return DualEncoder(model, words)


def random_alpha(seed: int = 0) -> AlphaEncoder:
    dual = clip(seed)
    return AlphaEncoder.of(dual, torch.randn(64, 1, 4, 4))


@torch.no_grad()
def test_before_training_any_mask_gives_the_features_of_the_clip() -> None:
    plain, alpha = clip(), AlphaEncoder.of(clip())
    assert torch.equal(alpha.image_features(images(), BOXES), plain.image_features(images()))
    batch = Batch(images(), TEXTS, boxes=BOXES)
    assert torch.equal(AlphaTask(alpha, 0.0)(batch)[0], DualTask(plain, Contrast())(batch)[0])


@torch.no_grad()
def test_a_mask_is_a_fourth_channel_of_the_first_convolution() -> None:
    alpha = random_alpha()
    boxes = [(0.0, 0.25, 0.5, 1.0), (0.3, 0.3, 0.35, 0.35), (0.0, 0.0, 1.0, 1.0)]
    found = alpha.image_features(images(), boxes)
    masks = torch.stack([(mask_of(box, 16) - MEAN) / STD for box in boxes])[:, None]
    tower = clip().model
    first = tower.vision_model.embeddings.patch_embedding
    both = torch.nn.Conv2d(4, 64, 4, 4, bias=False)
    both.weight.copy_(torch.cat((first.weight, alpha.dual.model.vision_model.embeddings.alpha.weight), 1))
    pixels = torch.cat((normalize(images(), torch.float32), masks), 1)
    first.register_forward_hook(lambda module, inputs, patches: both(pixels))
    wanted = torch.nn.functional.normalize(tower.get_image_features(pixel_values=pixels[:, :3]).pooler_output, dim=-1)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    assert not torch.allclose(found, clip().image_features(images()), atol=1e-2)


def test_a_pixel_that_a_box_cuts_counts_by_its_share() -> None:
    mask = mask_of((0.125, 0.0, 0.75, 0.5), 4)
    assert mask.tolist() == [[0.5, 1.0, 1.0, 0.0]] * 2 + [[0.0] * 4] * 2


@pytest.mark.parametrize(("width", "height"), [(400, 200), (200, 400), (333, 100), (64, 64)])
def test_a_box_goes_through_a_center_crop_with_its_image(width: int, height: int) -> None:
    short = min(width, height)
    left, top = (width - short) / 2 / width, (height - short) / 2 / height
    crop, squash = PixelSpec(50, "crop"), PixelSpec(50)
    assert crop.box((left, top, 1 - left, 1 - top), width, height) == pytest.approx((0, 0, 1, 1), abs=0.02)
    middle = (left + (1 - 2 * left) / 4, top, 1 - left, 1 - top)
    assert crop.box(middle, width, height) == pytest.approx((0.25, 0, 1, 1), abs=0.02)
    assert squash.box((0.1, 0.2, 0.3, 0.4), width, height) == (0.1, 0.2, 0.3, 0.4)


@pytest.mark.parametrize("rest", [0.0, 0.01])
def test_only_what_is_asked_for_is_trained(rest: float) -> None:
    encoder = AlphaEncoder.of(clip())
    task = AlphaTask(encoder, rest)
    before = {name: tensor.clone() for name, tensor in encoder.dual.model.state_dict().items()}
    batch = Batch(images(), TEXTS, boxes=[(0.0, 0.0, 0.5, 0.5), *BOXES[1:]])
    settings = StepSettings(log_every=10, save_every=10)
    Trainer(task, Schedule(steps=2, rate=1e-2, warmup=0), AdamW(), settings).run(
        iter([(batch, "")] * 2), lambda _: None, lambda _: None
    )
    moved = {name for name, tensor in encoder.dual.model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert WEIGHT in moved
    assert not any(name.startswith(("text_", "logit_scale")) for name in moved)
    assert (moved == {WEIGHT}) == (rest == 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    encoder = random_alpha()
    save_folder(tmp_path / "region", encoder.dual.model, processor(encoder.dual, 16))
    return tmp_path / "region"


@torch.no_grad()
def test_a_checkpoint_is_a_clip_with_one_tensor_more(folder: Path) -> None:
    _, loading = transformers.CLIPModel.from_pretrained(folder, output_loading_info=True)
    assert (list(loading["missing_keys"]), list(loading["unexpected_keys"])) == ([], [WEIGHT])
    again = AlphaEncoder.load(folder, "cpu", torch.float32)
    assert torch.equal(again.image_features(images(), BOXES), random_alpha().image_features(images(), BOXES))


@torch.no_grad()
def test_a_judge_looks_at_each_text_s_own_box(folder: Path) -> None:
    judge: Any = load_judge(f"region={folder}", Placement(device="cpu"))
    assert judge.columns == ("clip_region",)
    texts, boxes = [TEXTS, [], TEXTS[:1]], [BOXES, [], BOXES[2:]]
    found = judge.score_regions(images(), texts, boxes)["clip_region"]
    own = random_alpha()
    for row in (0, 2):
        for score, text, box in zip(found[row], texts[row], boxes[row], strict=True):
            cosine = (own.image_features(images()[row : row + 1], [box]) * own.dual.text_features([text])).sum()
            assert score == pytest.approx(float(cosine), abs=1e-5)
    whole = judge.score(images(), [TEXTS, [], []])["clip_region"][0]
    assert whole[0] == pytest.approx(found[0][0], abs=1e-5)
    assert abs(whole[1] - found[0][1]) > 1e-3


def test_a_checkpoint_without_its_masks_is_refused(folder: Path) -> None:
    encoder = clip()
    encoder.model.config.alpha = ONES
    save_folder(folder, encoder.model, processor(encoder, 16))
    with pytest.raises(ModelError, match=r"no vision_model\.embeddings\.alpha\.weight"):
        AlphaEncoder.load(folder, "cpu", torch.float32)


@pytest.mark.parametrize(
    ("system", "settings", "said"),
    [
        ("alpha-clip", (), r"model\.start: alpha-clip must start from a CLIP"),
        ("alpha-clip", ("model.start=demo-filter",), r"model\.start = 'demo-filter': its model type is"),
        ("alpha-clip", ("model.start=REGION", "model.image_size=32"), r"model\.image_size = 32"),
        ("alpha-clip", ("model.start=REGION", "data.flip=true"), r"data\.flip"),
        ("clip", ("model.start=REGION",), r"model\.start = .*it is an alpha-clip"),
    ],
)
def test_a_wrong_start_is_one_line_that_names_the_setting(
    system: str, settings: tuple[str, ...], said: str, folder: Path
) -> None:
    recipe = load_training("small", system, tuple(one.replace("REGION", str(folder)) for one in settings))
    with pytest.raises(ConfigError, match=said) as error:
        SYSTEMS[system].check(ask(SYSTEMS[system], recipe))
    assert isinstance(error.value, UserError)
    assert "\n" not in str(error.value)
