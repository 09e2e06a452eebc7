"""open_clip's models, and CLIP, SigLIP and BLIP-2 of `transformers`, as judges: the same numbers as over there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from capfilt.core.errors import ConfigError, ModelError
from capfilt.models.formats.open_clip_source import from_name
from capfilt.models.normalize import normalize
from capfilt.models.protocols import Judge, TruncatingJudge
from capfilt.models.registry import registry
from capfilt.pipelines.imaging.geometry.resize import square

Published = Callable[[str], Path]

JUDGES = ("clip", "siglip", "clip-transformers", "siglip-transformers", "blip2-itm")
TEXTS = ["a dog runs on the grass", "two people", "", "a red bus " * 60, "\u72d7 \U0001f600"]


def picture(seed: int, width: int = 120, height: int = 80) -> Image.Image:
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(0, 256, (6, 9, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def seen_by(judge: Judge, pictures: list[Image.Image]) -> torch.Tensor:
    """What decode makes of the pictures for a judge."""
    return torch.from_numpy(np.stack([np.asarray(square(picture, judge.pixels)) for picture in pictures]))


@pytest.mark.parametrize("name", JUDGES)
def test_scores_do_not_depend_on_company(published: Published, name: str) -> None:
    judge = registry.load_judge(str(published(name)))
    assert judge.columns == registry.columns(str(published(name)))
    images = seen_by(judge, [picture(n) for n in range(3)])
    texts = [TEXTS[:1], [], [*TEXTS[1:], TEXTS[0]]]
    scores = judge.score(images, texts)
    for column in judge.columns:
        assert [len(row) for row in scores[column]] == [1, 0, 5]
        assert len({round(value, 6) for row in scores[column] for value in row}) == 6
        for image, own in enumerate(texts):
            for k, text in enumerate(own):
                alone = judge.score(images[image : image + 1], [[text]])[column][0][0]
                assert alone == pytest.approx(scores[column][image][k], abs=1e-5)
    assert judge.score(images[:1], [[]]) == {column: [[]] for column in judge.columns}


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_open_clip_says_the_same(published: Published, name: str) -> None:
    """From a file of a picture to the cosine, with open_clip's own pixels, tokens and towers."""
    import open_clip

    judge = registry.load_judge(str(published(name)))
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{published(name)}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{published(name)}")
    with torch.no_grad():
        image = model.eval().encode_image(preprocess(picture(1))[None], normalize=True)
        text = model.encode_text(tokenizer(TEXTS), normalize=True)
    scores = judge.score(seen_by(judge, [picture(1)]), [TEXTS])
    assert scores["clip"][0] == pytest.approx((text @ image[0]).tolist(), abs=1e-4)


@pytest.mark.parametrize("name", ["clip-transformers", "siglip-transformers"])
def test_transformers_says_the_same(published: Published, name: str) -> None:
    import transformers

    library: Any = transformers
    judge = registry.load_judge(str(published(name)))
    model = library.AutoModel.from_pretrained(published(name)).eval()
    processor = library.AutoProcessor.from_pretrained(published(name))
    padding = "max_length" if name.startswith("siglip") else True
    words = processor.tokenizer(TEXTS, padding=padding, truncation=True, max_length=24, return_tensors="pt")
    if name.startswith("siglip"):
        words.pop("attention_mask")
    pixels = processor.image_processor(images=[picture(1)], return_tensors="pt")
    with torch.no_grad():
        out = model(**words, **pixels)
        cosines = torch.nn.functional.normalize(out.text_embeds) @ torch.nn.functional.normalize(out.image_embeds)[0]
    scores = judge.score(seen_by(judge, [picture(1)]), [TEXTS])
    assert scores["clip"][0] == pytest.approx(cosines.tolist(), abs=2e-3)  # its bicubic differs by a level or two


def test_blip2_itm_is_averaged_and_itc_the_largest_over_the_queries(published: Published) -> None:
    import transformers

    library: Any = transformers
    folder = published("blip2-itm")
    judge = registry.load_judge(str(folder))
    model = library.Blip2ForImageTextRetrieval.from_pretrained(folder).eval()
    tokenizer = library.AutoTokenizer.from_pretrained(folder)
    images = seen_by(judge, [picture(1), picture(2)])
    texts = ["two people sit at a table", "a red bus"]
    scores = judge.score(images, [texts, texts])
    words = tokenizer(texts, padding=True, return_tensors="pt")
    words = {name: words[name] for name in ("input_ids", "attention_mask")}
    for number in range(2):
        pixels = normalize(images[number : number + 1], torch.float32).expand(2, -1, -1, -1)
        with torch.no_grad():
            itm = model(pixel_values=pixels, use_image_text_matching_head=True, **words).logits_per_image
            itc = model(pixel_values=pixels, **words).logits_per_image
        assert scores["itm"][number] == pytest.approx(itm.softmax(-1)[:, 1].tolist(), abs=1e-4)
        assert scores["itc"][number] == pytest.approx(itc[0].tolist(), abs=1e-4)


@pytest.mark.parametrize("name", JUDGES)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_scores_about_the_same(published: Published, name: str, dtype: str) -> None:
    whole = registry.load_judge(str(published(name)))
    half = registry.load_judge(str(published(name)), registry.Placement(dtype=dtype))
    images = seen_by(whole, [picture(1), picture(2)])
    exact, about = whole.score(images, [TEXTS, TEXTS]), half.score(images, [TEXTS, TEXTS])
    for column in whole.columns:
        pairs = zip(exact[column], about[column], strict=True)
        differences = [abs(a - b) for old, new in pairs for a, b in zip(old, new, strict=True)]
        assert max(differences) < 0.1  # of random weights, larger than any that were trained
        assert max(differences) > 0


@pytest.mark.parametrize("name", ["clip-transformers", "siglip-transformers", "blip2-itm"])
def test_a_text_with_words_that_find_no_place_is_told(published: Published, name: str) -> None:
    judge = registry.load_judge(str(published(name)))
    assert isinstance(judge, TruncatingJudge)
    assert [judge.cuts(text) for text in ("a dog", "a dog runs on the grass " * 20)] == [False, True]


def test_a_tag_tells_two_judges_apart(published: Published) -> None:
    clip, itm = str(published("clip")), str(published("blip-itm"))
    assert registry.columns(f"b32={clip}") == ("clip_b32",)
    tagged = registry.load_judge(f"b32={clip}")
    assert tagged.columns == ("clip_b32",)
    images = seen_by(tagged, [picture(1)])
    assert tagged.score(images, [TEXTS])["clip_b32"] == registry.load_judge(clip).score(images, [TEXTS])["clip"]
    registry.check_columns([clip, f"b32={clip}", itm, f"large={itm}"])
    with pytest.raises(ConfigError, match=r"score\.judges: .* both give the column 'clip'.*'TAG=.*siglip'"):
        registry.check_columns([clip, str(published("siglip"))])


def test_names_of_open_clip_say_pixels_and_weights(tmp_path: Path) -> None:
    asked: list[str] = []
    folder = tmp_path / "hub"
    folder.mkdir()
    (folder / "open_clip_model.safetensors").touch()

    def fetch(name: str) -> Path:
        asked.append(name)
        return folder

    openai = from_name("open_clip:ViT-L-14:openai", fetch, fetch)
    assert (openai.weights, openai.pixels.name) == (folder / "open_clip_model.safetensors", "crop-224")
    assert openai.shape["vision_cfg"]["width"] == 1024
    assert openai.shape["quick_gelu"]  # OpenAI's weights were trained with it, and the architecture does not say so
    assert "quick_gelu" not in from_name("open_clip:ViT-L-14:datacomp_xl_s13b_b90k", fetch, fetch).shape
    siglip = from_name("open_clip:ViT-B-16-SigLIP:webli", fetch, fetch)
    assert (siglip.pixels.name, siglip.mean, siglip.tokenizer) == ("squash-224", (0.5, 0.5, 0.5), folder)
    assert asked == [
        "timm/vit_large_patch14_clip_224.openai",
        "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K",
        "timm/ViT-B-16-SigLIP",
    ]
    file = tmp_path / "mine.safetensors"
    file.touch()
    mine = from_name(f"open_clip:ViT-B-32:{file}", fetch, fetch)
    assert (mine.weights, mine.pixels.name, "quick_gelu" in mine.shape) == (file, "crop-224", False)
    roberta = from_name("open_clip:roberta-ViT-B-32:laion2b_s12b_b32k", fetch, fetch)
    assert (roberta.text_tower, asked[-1]) == (folder, "roberta-base")
    with pytest.raises(ModelError, match=r"'nope' is neither a \.safetensors file nor one of its tags: openai, "):
        from_name("open_clip:ViT-B-32:nope", fetch, fetch)
    with pytest.raises(ModelError, match=r"knows no architecture '\.\./ViT-B-32'"):
        from_name("open_clip:../ViT-B-32:openai", fetch, fetch)


def test_an_architecture_with_a_file_of_weights_judges_as_its_directory_does(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other way to load, `open_clip:ARCHITECTURE:FILE`, with a small architecture that open_clip is told of."""
    import json

    import open_clip

    folder = published("clip")
    shapes = Path(open_clip.__file__).parent / "model_configs"
    shape = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    monkeypatch.setattr("capfilt.models.formats.open_clip_source.architecture_shape", lambda name, architecture: shape)
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny", shape)
    assert shapes.is_dir()
    judge = registry.load_judge(f"open_clip:tiny:{folder / 'open_clip_model.safetensors'}")
    images = seen_by(judge, [picture(1)])
    assert judge.score(images, [TEXTS]) == registry.load_judge(str(folder)).score(images, [TEXTS])
