"""Train `demo-language`, a tiny Llama that writes what stands before it.

`python tests/support/tiny_models/make_demo_language.py DIR`

Its documents are `tags . caption` and `tags . question ? answer` of the drawn world. A language model that saw bare
sentences alone ignores what an image system puts in front of it: behind one, LLaVA's connector learned nothing.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from capfilt.demo.world.language import paraphrase
from capfilt.demo.world.questions import questions
from capfilt.demo.world.scene import Scene, random_scene

MARKS: Final = ("<pad>", "<s>", "</s>", "<unk>")
SHAPE: Final = {
    "hidden_size": 96,
    "intermediate_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
}
BATCH: Final = 48
IGNORED: Final = -100


def tags(scene: Scene, rng: np.random.Generator) -> str:
    """Everything that is true of a scene in a few words, told one to three times in any order."""
    things = [f"{thing.size} {thing.color} {thing.shape}" for thing in scene.things]
    facts = [f" {scene.relation} ".join(things), scene.background]
    told: list[str] = []
    for _ in range(int(rng.integers(1, 4))):
        told += [facts[number] for number in rng.permutation(len(facts))]
    return " , ".join(told)


def documents(seed: int) -> Iterator[tuple[str, str]]:
    """What stands before, and what the model writes."""
    rng = np.random.default_rng(seed)
    while True:
        scene = random_scene(rng)
        if rng.random() < 0.3:
            asked = questions(scene)
            question, answer = asked[int(rng.integers(len(asked)))]
            yield f"{tags(scene, rng)} . {question} ?", answer
        else:
            yield f"{tags(scene, rng)} .", paraphrase(scene, rng)


def tokenizer() -> Any:
    """A word a token, of all words of the world."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    stream = documents(1)
    texts = [" ".join(next(stream)) for _ in range(4000)]
    words = sorted({word for text in [*texts, "user : assistant"] for word in text.lower().split()})
    backend = Tokenizer(models.WordLevel({word: n for n, word in enumerate([*MARKS, *words])}, unk_token="<unk>"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    make: Any = PreTrainedTokenizerFast
    names = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), MARKS, strict=True))
    return make(tokenizer_object=backend, **names)


def batch(words: Any, stream: Iterator[tuple[str, str]]) -> tuple[Tensor, Tensor]:
    """ids and labels [B, T]; tags are read, not learned."""
    rows = []
    for _ in range(BATCH):
        before, after = next(stream)
        given = words(before)["input_ids"]
        told = [*words(after, add_special_tokens=False)["input_ids"], words.eos_token_id]
        rows.append((given + told, [IGNORED] * len(given) + told))
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [words.pad_token_id] * (longest - len(ids)) for ids, _ in rows])
    labels = torch.tensor([labels + [IGNORED] * (longest - len(labels)) for _, labels in rows])
    return ids, labels


def train(folder: Path, steps: int) -> None:
    """Train, tell the loss, and save in float16."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    words, config, kind = tokenizer(), LlamaConfig, LlamaForCausalLM
    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False}
    model: Any = kind(config(vocab_size=len(words), **SHAPE, **ends))
    print(f"{len(words)} words, {sum(one.numel() for one in model.parameters()):,} parameters")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps, pct_start=0.05)
    stream = documents(2)
    for step in range(steps):
        loss = loss_of(model, *batch(words, stream))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1}: {loss.item():.3f}", flush=True)
    with torch.no_grad():
        ids, labels = batch(words, documents(3))
        told = loss_of(model, ids, labels)
        # The twin: the same words behind the tags of another scene.
        given = labels == IGNORED
        others = torch.where(given & (ids != 0), ids.roll(1, 0), ids)
        print(f"held-out: {told.item():.3f} behind its own tags, {loss_of(model, others, labels).item():.3f} others'")
    model.half().save_pretrained(folder)
    words.save_pretrained(folder)


def loss_of(model: Any, ids: Tensor, labels: Tensor) -> Tensor:
    """Mean over the learned tokens."""
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=900)
    asked = parser.parse_args()
    train(asked.folder, asked.steps)
