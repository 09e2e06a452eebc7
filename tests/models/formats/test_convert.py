"""`capfilt convert`: what others saved becomes a directory that loads, with the same numbers."""

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from capfilt.cli import app
from capfilt.core.errors import ModelError
from capfilt.models.formats.convert import convert
from capfilt.models.formats.weights import load_med
from capfilt.models.normalize import normalize
from capfilt.models.registry import registry

Published = Callable[[str], Path]
BACK = (
    ("vision_model.embeddings.patch_embedding.", "visual_encoder.patch_embed.proj."),
    ("vision_model.embeddings.position_embedding", "visual_encoder.pos_embed"),
    ("vision_model.embeddings.class_embedding", "visual_encoder.cls_token"),
    ("vision_model.post_layernorm.", "visual_encoder.norm."),
    ("vision_model.encoder.layers.", "visual_encoder.blocks."),
    (".self_attn.projection.", ".attn.proj."),
    (".self_attn.", ".attn."),
    (".layer_norm", ".norm"),
)


def as_blip_saves_it(name: str) -> str:
    if not name.startswith("vision_model."):
        return name
    for theirs, own in BACK:
        name = name.replace(theirs, own)
    return name


def test_a_blip_file_becomes_a_directory_with_the_same_tensors(published: Published, tmp_path: Path) -> None:
    folder = published("blip-itm")
    weights = {as_blip_saves_it(name): tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    extra = {"temp": torch.ones([]), "image_queue": torch.ones(2, 2), "text_encoder_m.x": torch.ones(1)}
    torch.save({"model": weights | extra, "epoch": 3}, tmp_path / "model_base.pth")
    assert re.search(r"visual_encoder\.blocks\.0\.attn\.qkv", str(sorted(weights)))
    done = CliRunner().invoke(
        app,
        [
            "convert",
            str(tmp_path / "model_base.pth"),
            "--to",
            str(tmp_path / "out"),
            "--words",
            str(folder / "vocab.txt"),
        ],
    )
    assert done.exit_code == 0, done.output
    assert "BLIP, filter" in done.output
    written = load_file(tmp_path / "out" / "model.safetensors")
    original = load_file(folder / "model.safetensors")
    assert {name for name in original if "position_ids" not in name} == set(written)
    assert all(torch.equal(written[name], original[name]) for name in written)
    settings = json.loads((tmp_path / "out" / "config.json").read_text())
    assert settings["text_config"]["hidden_size"] == 48
    assert settings["vision_config"]["image_size"] == 32
    load_med(tmp_path / "out")


def test_pickled_weights_of_transformers_become_safetensors(published: Published, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(published("blip"), tmp_path / "blip"))
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert convert(folder / "pytorch_model.bin", tmp_path / "out") == "a model of transformers"
    model, _ = load_med(tmp_path / "out")
    same, _ = load_med(published("blip"))
    assert torch.equal(model.vision.cls, same.vision.cls)


def test_a_training_of_open_clip_needs_its_architecture(tmp_path: Path) -> None:
    tensors = {"module.visual.proj": torch.ones(2, 2), "module.logit_scale": torch.ones([])}
    torch.save({"epoch": 5, "state_dict": tensors, "optimizer": {}}, tmp_path / "epoch_5.pt")
    with pytest.raises(ModelError, match=r"name its architecture by --architecture"):
        convert(tmp_path / "epoch_5.pt", tmp_path / "out")
    convert(tmp_path / "epoch_5.pt", tmp_path / "out", architecture="ViT-B-32")
    assert set(load_file(tmp_path / "out" / "open_clip_model.safetensors")) == {"visual.proj", "logit_scale"}
    assert json.loads((tmp_path / "out" / "open_clip_config.json").read_text())["model_cfg"]["embed_dim"] == 512


def test_an_adapter_is_merged_into_its_base(tmp_path: Path) -> None:
    base, adapter = tmp_path / "base", tmp_path / "lora"
    base.mkdir()
    adapter.mkdir()
    save_file({"model.q.weight": torch.eye(4), "model.v.weight": torch.eye(4)}, base / "model.safetensors")
    (base / "config.json").write_text("{}")
    down, up = torch.rand(2, 4), torch.rand(4, 2)
    prefix = "base_model.model.model.q"
    save_file({f"{prefix}.lora_A.weight": down, f"{prefix}.lora_B.weight": up}, adapter / "adapter_model.safetensors")
    settings = {"r": 2, "lora_alpha": 8, "base_model_name_or_path": "someone/base"}
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match=r"by --base \(there: 'someone/base'\)"):
        convert(adapter, tmp_path / "out")
    convert(adapter, tmp_path / "out", base=base)
    merged = load_file(tmp_path / "out" / "model.safetensors")
    assert torch.allclose(merged["model.q.weight"], torch.eye(4) + 4 * up @ down)
    assert torch.equal(merged["model.v.weight"], torch.eye(4))
    (adapter / "adapter_config.json").write_text(json.dumps(settings | {"rank_pattern": {"q": 4}}))
    with pytest.raises(ModelError, match="sets rank_pattern, which is not merged here"):
        convert(adapter, tmp_path / "other", base=base)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lora_alpha": 8}, r"KeyError: 'r'"),
        ({"r": 4, "lora_alpha": 8}, r"does not fit model\.q\.weight of .*, or r = 4"),
        (
            {"r": 2, "lora_alpha": 8, "init_lora_weights": "pissa_niter_4"},
            "its init_lora_weights changed the base model",
        ),
    ],
)
def test_an_adapter_that_would_be_merged_wrongly_is_refused(
    tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    base, adapter, prefix = tmp_path / "base", tmp_path / "lora", "base_model.model.model.q"
    base.mkdir()
    adapter.mkdir()
    save_file({"model.q.weight": torch.eye(4)}, base / "model.safetensors")
    parts = {f"{prefix}.lora_A.weight": torch.rand(2, 4), f"{prefix}.lora_B.weight": torch.rand(1, 2)}
    save_file(parts, adapter / "adapter_model.safetensors")
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match=said) as caught:
        convert(adapter, tmp_path / "out", base=base)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.write_text, (self.mark, "ran")


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.pth").write_bytes(pickle.dumps({"model": Bomb(tmp_path / "ran")}))
    with pytest.raises(ModelError, match="no file of plain tensors"):
        convert(tmp_path / "model.pth", tmp_path / "out")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"a.weight": torch.ones(1)}, "neither BLIP, open_clip nor a model of transformers"),
        ({"visual_encoder.cls_token": torch.ones(1)}, r"BLIP's words are not in it; name BERT's vocab.txt by --words"),
    ],
)
def test_what_is_not_known_is_one_line(tmp_path: Path, tensors: dict[str, torch.Tensor], said: str) -> None:
    torch.save({"model": tensors}, tmp_path / "x.pth")
    with pytest.raises(ModelError, match=said):
        convert(tmp_path / "x.pth", tmp_path / "out")


LAVIS = (
    (r"^vision_model\.embeddings\.patch_embedding\.", "visual_encoder.patch_embed.proj."),
    (r"^vision_model\.embeddings\.position_embedding$", "visual_encoder.pos_embed"),
    (r"^vision_model\.embeddings\.class_embedding$", "visual_encoder.cls_token"),
    (r"^vision_model\.post_layernorm\.", "ln_vision."),
    (r"^vision_model\.encoder\.layers\.(\d+)\.self_attn\.projection\.", r"visual_encoder.blocks.\1.attn.proj."),
    (r"^vision_model\.encoder\.layers\.(\d+)\.self_attn\.", r"visual_encoder.blocks.\1.attn."),
    (r"^vision_model\.encoder\.layers\.(\d+)\.layer_norm", r"visual_encoder.blocks.\1.norm"),
    (r"^vision_model\.encoder\.layers\.", "visual_encoder.blocks."),
    (r"^qformer\.layernorm\.", "Qformer.bert.embeddings.LayerNorm."),
    (r"^embeddings\.", "Qformer.bert.embeddings."),
    (
        r"^qformer\.encoder\.layer\.(\d+)\.(\w*)attention\.attention\.",
        r"Qformer.bert.encoder.layer.\1.\2attention.self.",
    ),
    (r"^qformer\.", "Qformer.bert."),
    (r"^vision_projection\.", "vision_proj."),
    (r"^text_projection\.", "text_proj."),
)


def as_lavis_saves_it(weights: dict[str, Any]) -> dict[str, Any]:
    """The tensors of `Blip2ForImageTextRetrieval` by LAVIS's names, the biases of queries and values apart."""
    found = {}
    for name, tensor in weights.items():
        for pattern, theirs in LAVIS:
            renamed, done = re.subn(pattern, theirs, name)
            if done:
                break
        if renamed.endswith("attn.qkv.bias"):
            query, _, value = tensor.chunk(3)
            found |= {renamed.replace("qkv.bias", "q_bias"): query, renamed.replace("qkv.bias", "v_bias"): value}
        else:
            found[renamed] = tensor
    more = {"temp": torch.ones([]), "Qformer.cls.predictions.bias": torch.ones(5)}
    return found | more | {"Qformer.bert.embeddings.position_ids": torch.arange(5)}


@pytest.fixture(scope="module")
def retriever(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, dict[str, Any]]:
    """A small Blip2ForImageTextRetrieval, words for it, and its tensors as LAVIS names them."""
    import transformers as tf

    torch.manual_seed(1)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "dog", "cat", "on", "mat"]
    text = {"num_hidden_layers": 1, "hidden_size": 32, "ffn_dim": 32, "num_attention_heads": 2, "vocab_size": 9}
    vision = {"hidden_size": 128, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}
    qformer = {"vocab_size": len(words) + 1, "hidden_size": 128, "intermediate_size": 64, "num_hidden_layers": 4}
    config = tf.Blip2Config(
        vision_config=vision | {"image_size": 32, "patch_size": 8},
        qformer_config=qformer
        | {"num_attention_heads": 2, "encoder_hidden_size": 128, "use_qformer_text_input": True}
        | {"max_position_embeddings": 40},
        text_config={"model_type": "opt", "word_embed_proj_dim": 32, **text},
        num_query_tokens=4,
        image_text_hidden_size=16,
    )
    model = tf.Blip2ForImageTextRetrieval(config).eval()
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, std=0.2)
        if name.endswith("qkv.bias"):
            parameter.data[128:256] = 0  # EVA's keys have none
    vocabulary = tmp_path_factory.mktemp("words") / "vocab.txt"
    vocabulary.write_text("\n".join(words) + "\n")
    return model, vocabulary, as_lavis_saves_it(dict(model.state_dict()))


@pytest.mark.parametrize("apart", [False, True], ids=["tuned for retrieval", "stage 1 and its tower"])
def test_blip2_of_lavis_judges_as_its_class_in_transformers(
    retriever: tuple[Any, Path, dict[str, Any]], tmp_path: Path, apart: bool
) -> None:
    model, vocabulary, weights = retriever
    tower = {name.removeprefix("visual_encoder."): t for name, t in weights.items() if name.startswith("visual_")}
    own = {name: tensor for name, tensor in weights.items() if not (apart and name.startswith("visual_encoder."))}
    torch.save({"model": own}, tmp_path / "blip2.pth")
    torch.save(tower | {"norm.weight": torch.ones(3), "head.bias": torch.ones(3)}, tmp_path / "eva.pth")
    vision = ["--vision", str(tmp_path / "eva.pth")] if apart else []
    command = ["convert", str(tmp_path / "blip2.pth"), "--to", str(tmp_path / "out"), "--words", str(vocabulary)]
    done = CliRunner().invoke(app, [*command, *vision])
    assert done.exit_code == 0, done.output
    judge = registry.load_judge(str(tmp_path / "out"))
    images = torch.randint(0, 255, (2, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    texts = ["a red dog", "cat on a mat"]
    scores = judge.score(images, [texts, texts])
    pixels = normalize(images, torch.float32)
    ids = torch.tensor([[2, 5, 6, 7, 3, 0], [2, 8, 9, 5, 10, 3]])
    for row in range(2):
        seen, mask = pixels[[row, row]], (ids > 0).long()
        with torch.no_grad():
            asked = {"pixel_values": seen, "input_ids": ids, "attention_mask": mask}
            itm = model(**asked, use_image_text_matching_head=True).logits_per_image.softmax(-1)[:, 1]
            itc = model(**asked).logits_per_image.diagonal()
        assert scores["itm"][row] == pytest.approx(itm.tolist(), abs=1e-5)
        assert scores["itc"][row] == pytest.approx(itc.tolist(), abs=1e-5)


def test_blip2_that_cannot_be_converted_says_what_is_missing(
    retriever: tuple[Any, Path, dict[str, Any]], tmp_path: Path
) -> None:
    _, vocabulary, weights = retriever
    file = tmp_path / "blip2.pth"
    torch.save({name: tensor for name, tensor in weights.items() if not name.startswith("visual_encoder.")}, file)
    with pytest.raises(ModelError, match=r"its image tower is not in it; name its file .* by --vision"):
        convert(file, tmp_path / "out", words=vocabulary)
    torch.save({name: tensor for name, tensor in weights.items() if not name.startswith("itm_head.")}, file)
    with pytest.raises(ModelError, match="BLIP-2 of stage 2"):
        convert(file, tmp_path / "out", words=vocabulary)
    torch.save(weights | {"Qformer.bert.pooler.dense.weight": torch.ones(2, 2)}, file)
    with pytest.raises(ModelError, match=r"Qformer\.bert\.pooler\.dense\.weight is no tensor of BLIP-2"):
        convert(file, tmp_path / "out", words=vocabulary)
