"""A text side that starts from a BERT."""

from pathlib import Path

import pytest
import torch
import transformers
from torch import nn

from capfilt.core.errors import ConfigError
from capfilt.models.med.vision import VisionLayer
from capfilt.models.systems.med.dropout import set_dropout
from capfilt.models.systems.med.start import start_med
from capfilt.models.systems.med.system import bert_files
from capfilt.models.training.settings import Dropout
from capfilt.models.training.system import ModelSettings

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "dog", "##s", "runs"]


def write_bert(folder: Path, layers: int = 3, kind: str = "BertForMaskedLM") -> None:
    """As wide as med-tiny."""
    torch.manual_seed(0)
    shape = {"hidden_size": 128, "num_hidden_layers": layers, "num_attention_heads": 4, "intermediate_size": 512}
    config = transformers.BertConfig(**shape, vocab_size=len(WORDS), max_position_embeddings=64)
    getattr(transformers, kind)(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")


@pytest.mark.parametrize("kind", ["BertForMaskedLM", "BertModel"])
def test_it_reads_as_the_bert_does_and_knows_its_words(tmp_path: Path, kind: str) -> None:
    write_bert(tmp_path, kind=kind)
    model, tokenizer = start_med(ModelSettings(text=str(tmp_path)), ["a red dog runs"], judges=True)
    assert len(tokenizer) == len(WORDS) + 2
    ids, mask = tokenizer.encode(["a red dog runs", "red dogs"], "[CLS]", 20)
    theirs = transformers.BertModel.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        states = theirs(ids, attention_mask=mask.long()).last_hidden_state
        ours = model.eval().text.encode(ids, mask)
    assert (ours - states)[mask].abs().max() < 1e-5
    for layer in model.text.layers:
        assert torch.equal(layer.decoder.query.weight, layer.encoder.query.weight)
    head = transformers.BertForMaskedLM.from_pretrained(tmp_path).cls.predictions.transform.dense.weight
    assert torch.equal(model.lm_head.dense.weight, head) == (kind == "BertForMaskedLM")


def test_another_shape_and_no_bert_are_one_line(tmp_path: Path) -> None:
    write_bert(tmp_path / "deep", layers=4)
    with pytest.raises(ConfigError, match=r"model.text = .*does not fit a text side of 3 layers of width 128"):
        start_med(ModelSettings(text=str(tmp_path / "deep")), ["a dog"], judges=False)
    with pytest.raises(ConfigError, match=r"model.text = .*no folder with weights"):
        bert_files(tmp_path / "nothing")


@pytest.mark.parametrize("wanted", [0.0, 0.1])
def test_it_drops_out_where_bert_does(tmp_path: Path, wanted: float) -> None:
    """BERT's own dropout is 0.1; from the same random numbers both drop the same."""
    write_bert(tmp_path)
    model, tokenizer = start_med(ModelSettings(text=str(tmp_path)), ["a red dog runs"], judges=True)
    set_dropout(model, Dropout(text=wanted))
    ids, mask = tokenizer.encode(["a red dog runs", "red dogs"], "[CLS]", 20)
    theirs = transformers.BertModel.from_pretrained(tmp_path).train()
    torch.manual_seed(3)
    states = theirs(ids, attention_mask=mask.long()).last_hidden_state
    torch.manual_seed(3)
    ours = model.train().text.encode(ids, mask)
    assert bool((ours - states)[mask].abs().max() < 1e-4) == bool(wanted)


def test_layers_of_the_image_tower_are_skipped_more_often_the_later_they_stand() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(*(VisionLayer(8, 2) for _ in range(3)))
    set_dropout(layers, Dropout(path=0.5))
    assert [layer.drop_path for layer in layers] == [0, 0.25, 0.5]
    images = torch.randn(4000, 1, 8)
    layer = layers[2].train()
    with torch.no_grad():
        change = layer(images) - images
        attended = 2 * layer.attention(layer.norm1(images))
    same = change.abs().amax((1, 2)) == 0
    half = (change - attended).abs().amax((1, 2)) < 1e-6
    for part in (same, half):  # a quarter of the images each
        assert 0.22 < float(part.double().mean()) < 0.28
