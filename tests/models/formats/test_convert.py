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
        ({"Qformer.bert.x": torch.ones(1)}, "BLIP-2 as LAVIS saves it is not supported"),
        ({"a.weight": torch.ones(1)}, "neither BLIP, open_clip nor a model of transformers"),
        ({"visual_encoder.cls_token": torch.ones(1)}, r"BLIP's words are not in it; name BERT's vocab.txt by --words"),
    ],
)
def test_what_is_not_known_is_one_line(tmp_path: Path, tensors: dict[str, torch.Tensor], said: str) -> None:
    torch.save({"model": tensors}, tmp_path / "x.pth")
    with pytest.raises(ModelError, match=said):
        convert(tmp_path / "x.pth", tmp_path / "out")
