"""The language model that ships has learned to use what stands before it."""

import torch

import make_demo_language
from capfilt.models.formats.guarded import load_model, load_part
from capfilt.models.registry.resolve import locate


def test_the_language_model_that_ships_goes_on_behind_its_own_prefix() -> None:
    folder = locate("demo-language")
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1_000_000
    model = load_model("AutoModelForCausalLM", folder, "cpu", torch.float32)
    words = load_part("AutoTokenizer", folder)
    ids, labels = make_demo_language.batch(words, make_demo_language.documents(11))
    given = labels == make_demo_language.IGNORED
    others = torch.where(given & (ids != words.pad_token_id), ids.roll(1, 0), ids)
    with torch.no_grad():
        own, other = (make_demo_language.loss_of(model, read, labels).item() for read in (ids, others))
    assert own < 0.6
    assert other > 2  # the twin: a model that ignores its prefix would be as good behind another's
