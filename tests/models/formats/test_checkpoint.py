"""What is loaded is what is digested, as `transformers` has it; what a MED does not have is refused by name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from safetensors.torch import load_file, save_file
from torch import Tensor

from capfilt.core.errors import ModelError
from capfilt.models.formats.weights import load_med, load_tokenizer, save_med
from capfilt.models.med.model import MED
from capfilt.models.protocols import Decoding
from capfilt.models.registry import registry
from capfilt.models.systems.med.start import load_for_training
from capfilt.models.tokenizer import UNK, Tokenizer

Published = Callable[[str], Path]


@pytest.fixture
def copied(published: Published, tmp_path: Path) -> Published:
    """A checkpoint of the name, to be changed."""
    return lambda name: Path(shutil.copytree(published(name), tmp_path / name))


def change(file: Path, part: str, **more: object) -> None:
    whole = json.loads(file.read_text()) if file.is_file() else {}
    (whole.setdefault(part, {}) if part else whole).update(more)
    file.write_text(json.dumps(whole))


def rewrite(folder: Path, work: Callable[[dict[str, Tensor]], None]) -> None:
    weights = load_file(folder / "model.safetensors")
    work(weights)
    save_file(
        {name: tensor.contiguous() for name, tensor in weights.items()}, folder / "model.safetensors", {"format": "pt"}
    )


HEAD, BIAS = "text_decoder.cls.predictions.decoder.weight", "text_decoder.cls.predictions.decoder.bias"
WORDS = "text_decoder.bert.embeddings.word_embeddings.weight"


UNTIED = {"tie_word_embeddings": False}


@pytest.mark.parametrize("settings", [{}, UNTIED], ids=["tied by config.json", "untied by config.json"])
@pytest.mark.parametrize("stored", [(HEAD,), (HEAD, BIAS), (BIAS,)], ids=["words", "words and bias", "bias"])
def test_an_output_layer_of_its_own_gives_transformers_logits(
    copied: Published, settings: dict[str, Any], stored: tuple[str, ...]
) -> None:
    folder = copied("blip")
    rewrite(folder, lambda weights: weights.update({HEAD: weights[WORDS].clone()}))  # tied, and stored all the same
    assert load_med(folder)[0].lm_head.words is None
    change(folder / "config.json", "", **settings)
    change(folder / "config.json", "text_config", **settings)
    random = torch.Generator().manual_seed(3)
    count, width = load_file(folder / "model.safetensors")[WORDS].shape
    own = {HEAD: torch.randn(count, width, generator=random), BIAS: torch.randn(count, generator=random)}
    rewrite(folder, lambda weights: weights.update({name: own[name] for name in stored}))
    theirs = tf.BlipForConditionalGeneration.from_pretrained(folder).eval()
    ours, _ = load_med(folder)
    pixels = torch.randn(2, 3, ours.config.image_size, ours.config.image_size, generator=random)
    ids = torch.randint(5, 30, (2, 7), generator=random)
    with torch.no_grad():
        wanted = theirs(pixel_values=pixels, input_ids=ids).logits
        found = ours.lm_logits(ids, ours.text.project_image_kv(ours.encode_image(pixels)))
    assert torch.allclose(found, wanted, atol=1e-4)
    assert (ours.lm_head.words is None) == (HEAD not in stored)


def test_it_stays_its_own_when_it_is_saved_and_trained(copied: Published, tmp_path: Path) -> None:
    folder = copied("blip")
    rewrite(folder, lambda weights: weights.update({HEAD: weights[WORDS] + 1}))
    model, tokenizer = load_for_training(folder, 64)
    assert model.lm_head.words is not None
    save_med(tmp_path / "saved", model, tokenizer, ("captioner",))
    again, _ = load_med(tmp_path / "saved")
    assert again.lm_head.words is not None
    assert torch.equal(again.lm_head.words, model.lm_head.words)


def test_one_that_is_said_to_be_there_and_is_not_is_refused(copied: Published) -> None:
    folder = copied("blip")
    change(folder / "config.json", "", **UNTIED)
    change(folder / "config.json", "text_config", **UNTIED)
    with pytest.raises(ModelError, match=r"tie_word_embeddings is false, but the weights hold no text_decoder"):
        load_med(folder)


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("text_config", "hidden_act", "relu"),
        ("vision_config", "hidden_act", "quick_gelu"),
        ("text_config", "layer_norm_eps", 1e-5),
        ("vision_config", "layer_norm_eps", 1e-6),
        ("text_config", "is_decoder", False),
        ("vision_config", "num_channels", 1),
    ],
)
def test_a_setting_that_a_med_does_not_have_is_refused_by_name(
    copied: Published, part: str, name: str, value: object
) -> None:
    folder = copied("blip")
    change(folder / "config.json", part, **{name: value})
    with pytest.raises(ModelError, match=f"config.json: .*{name} = {value!r} is not supported"):
        registry.check(str(folder), "captioner")


@pytest.mark.parametrize(
    ("name", "value"),
    [("image_mean", [0.5, 0.5, 0.5]), ("image_std", [0.5, 0.5, 0.5]), ("resample", 2), ("do_normalize", False)],
)
def test_pixels_that_a_med_does_not_make_are_refused_by_name(copied: Published, name: str, value: object) -> None:
    folder = copied("blip")
    change(folder / "preprocessor_config.json", "", **{name: value})
    with pytest.raises(ModelError, match=rf"preprocessor_config.json: {name} = .* is not supported"):
        registry.check(str(folder), "captioner")


def test_shards_with_an_index_load_and_all_are_digested(copied: Published) -> None:
    folder = copied("blip")
    whole, _ = load_med(folder)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, own in parts.items():
        save_file({name: weights[name] for name in own}, folder / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, own in parts.items() for name in own}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    before = registry.check(str(folder), "captioner")
    sharded, _ = load_med(folder)
    for one, other in zip(whole.parameters(), sharded.parameters(), strict=True):
        assert one.is_meta == other.is_meta
        assert one.is_meta or torch.equal(one, other)
    last = folder / "model-00002-of-00002.safetensors"
    some = load_file(last)
    some[names[1]] += 1
    save_file(some, last, metadata={"format": "pt"})
    assert registry.check(str(folder), "captioner") != before
    index["weight_map"][names[0]] = "../elsewhere.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="leads out of the folder"):
        registry.check(str(folder), "captioner")
    (folder / "model.safetensors.index.json").write_text("{")
    with pytest.raises(ModelError, match=r"index\.json: "):
        registry.check(str(folder), "captioner")


@pytest.mark.slow
def test_safetensors_are_loaded_and_digested_where_a_pickle_lies_beside_them(copied: Published) -> None:
    """LAION's folders hold `open_clip_pytorch_model.bin` beside `model.safetensors`."""
    from capfilt.models.registry.probe import plain_images

    folder = copied("clip")
    expected = registry.load_judge(str(folder)).score(
        plain_images(registry.pixels(str(folder), "filter")), [["a"], ["b"]]
    )
    (folder / "open_clip_model.safetensors").rename(folder / "model.safetensors")
    other = {name: tensor + 1 for name, tensor in load_file(folder / "model.safetensors").items()}
    torch.save(other, folder / "open_clip_pytorch_model.bin")
    judge = registry.load_judge(str(folder))
    assert judge.score(plain_images(judge.pixels), [["a"], ["b"]]) == expected
    digest = registry.check(str(folder), "filter")
    torch.save({}, folder / "open_clip_pytorch_model.bin")
    assert registry.check(str(folder), "filter") == digest == judge.digest


BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "dog", "Dog", "caf\u00e9", "cafe", "\u72d7", "\u72d7\u5c4b"]


@pytest.mark.parametrize(
    ("settings", "text", "pieces"),
    [
        ({}, "Dog", ["dog"]),
        ({"do_lower_case": False}, "Dog", ["Dog"]),
        ({"do_lower_case": False}, "dog", ["dog"]),
        ({}, "caf\u00e9", ["cafe"]),
        ({"strip_accents": False}, "caf\u00e9", ["caf\u00e9"]),
        ({}, "\u72d7\u5c4b", ["\u72d7", UNK]),
        ({"tokenize_chinese_chars": False}, "\u72d7\u5c4b", ["\u72d7\u5c4b"]),
    ],
)
def test_what_is_saved_of_case_accents_and_chinese_is_honored(
    tmp_path: Path, settings: dict[str, Any], text: str, pieces: list[str]
) -> None:
    import transformers

    library: Any = transformers
    (tmp_path / "vocab.txt").write_text("\n".join(BERT) + "\n", encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = load_tokenizer(tmp_path / "vocab.txt")
    ids, _ = tokenizer.encode([text], "[CLS]", 20)
    assert [tokenizer.backend.id_to_token(one) for one in ids[0].tolist()[1:-1]] == pieces
    theirs = library.BertTokenizerFast(vocab=str(tmp_path / "vocab.txt"), **settings)
    theirs.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    saved = load_tokenizer(tmp_path / "tokenizer.json")
    assert saved.encode([text], "[CLS]", 20)[0].tolist() == ids.tolist()


def test_a_tokenizer_of_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    from tokenizers import Tokenizer as Backend
    from tokenizers.models import BPE

    Backend(BPE()).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match="kind BPE, where WordPiece is supported"):
        load_tokenizer(tmp_path / "tokenizer.json")


def test_a_captioner_is_asked_as_it_was_trained(
    med: MED, tokenizer: Tokenizer, images: torch.Tensor, tmp_path: Path
) -> None:
    save_med(tmp_path / "tuned", med, tokenizer, ("captioner",), prompt="two blue")
    save_med(tmp_path / "plain", med, tokenizer, ("captioner",))
    assert "prompt" not in json.loads((tmp_path / "plain" / "config.json").read_text())

    def texts(folder: str, prompt: str) -> list[str]:
        captioner = registry.load_captioner(str(tmp_path / folder))
        captions = captioner.caption(images, [[1]] * len(images), prompt, Decoding(max_tokens=8, min_tokens=3))
        return [row[0].text for row in captions]

    assert texts("tuned", "") == texts("tuned", "two blue") == texts("plain", "two blue")
    assert texts("tuned", "") != texts("plain", "")
    assert texts("tuned", "a") == texts("plain", "a")


@pytest.mark.parametrize(
    "texts",
    [
        ["\u4e00\u53ea\u68d5\u8272\u7684\u72d7", "\u4e00\u53ea\u732b"],
        ["\u8336\u8272\u3044\u72ac\u304c\u8d70\u308b", "\u8336\u8272\u3044\u732b"],
        ["\u043a\u043e\u0440\u0438\u0447\u043d\u0435\u0432\u0430\u044f \u0441\u043e\u0431\u0430\u043a\u0430"],
        ["un chien \u00e0 c\u00f4t\u00e9 d'une \u0153uvre"],
        ["\u03ad\u03bd\u03b1\u03c2 \u03c3\u03ba\u03cd\u03bb\u03bf\u03c2"],
    ],
)
def test_words_of_any_writing_are_known_to_a_tokenizer_made_of_them(texts: list[str]) -> None:
    tokenizer = Tokenizer.from_words(texts * 2)
    assert tokenizer.unknown_share(texts) == 0.0
    assert Tokenizer.from_words(["a brown dog"] * 2).unknown_share(texts) > 0.05


def test_words_are_counted_without_the_marks_beside_them() -> None:
    """ "dog," was counted as a word, so that "dog" was spelled; "?" and "&" were unknown."""
    tokenizer = Tokenizer.from_words(["a dog, a cat?", "dog & cat & (dog)?"])
    pieces = [
        tokenizer.backend.id_to_token(piece) for piece in tokenizer.encode(["dog? cat & dog,"], "[ENC]", 20)[0][0]
    ]
    assert pieces == ["[ENC]", "dog", "?", "cat", "&", "dog", ",", "[SEP]"]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda home: (home / "model_base.pth").write_bytes(b"x"), "model_base.pth': a file of pickled weights"),
        (lambda home: (home / "epoch_5.pt").write_bytes(b"x"), "epoch_5.pt': a file of pickled weights"),
    ],
)
def test_a_file_of_weights_is_named_for_what_it_is(tmp_path: Path, make: Callable[[Path], Any], said: str) -> None:
    make(tmp_path)
    (file,) = tmp_path.iterdir()
    with pytest.raises(ModelError, match=r"capfilt convert .* --to DIR") as caught:
        registry.check(str(file), "captioner")
    assert said in str(caught.value)


def test_a_folder_that_is_no_model_is_named_for_what_it_is(tmp_path: Path, copied: Published) -> None:
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"a LoRA adapter, .*`capfilt convert .*lora --to DIR` merges it"):
        registry.check(str(tmp_path / "lora"), "captioner")
    (tmp_path / "lavis").mkdir()
    (tmp_path / "lavis" / "checkpoint_best.pth").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"without a config.json; `capfilt convert .*best.pth --to DIR`"):
        registry.check(str(tmp_path / "lavis"), "captioner")
    folder = copied("blip")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"only pytorch_model\.bin, .* `capfilt convert .*pytorch_model.bin --to DIR`"):
        registry.check(str(folder), "captioner")
