"""Questions of the world: an answer makes a right statement, every other answer a wrong one."""

from pathlib import Path

import numpy as np

from capfilt.demo.world.dataset import write_pairs
from capfilt.demo.world.language import describe, is_right
from capfilt.demo.world.questions import questions
from capfilt.demo.world.scene import BACKGROUNDS, COLORS, SIZES, random_scene
from capfilt.models.pixels import PixelSpec
from capfilt.pipelines.training_data.pairs import Wanted, load_pairs


def test_answers_are_true_and_no_other_is() -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for scene in (random_scene(rng) for _ in range(200)):
        truth = describe(scene)
        for question, answer in questions(scene):
            what, _, of = question.partition(" the ")
            seen.add(what)
            if what == "how many things are there":
                assert answer == {1: "one", 2: "two"}[len(scene.things)]
                continue
            options = BACKGROUNDS if of == "background" else COLORS if what == "what color is" else SIZES
            words = {option: f"a {option} {of}" for option in options}
            if of == "background":
                words = {option: f"a {scene.things[0].shape} on a {option} background" for option in options}
            assert [option for option, text in words.items() if is_right(text, truth)] == [answer]
    assert seen == {"what color is", "how many things are there", "how large is"}


def test_training_reads_them(tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs.parquet", 5, seed=1)
    pairs = load_pairs([str(tmp_path / "pairs.parquet")], Wanted(column="questions", pixels=PixelSpec(16, "squash")))
    assert len(pairs) == 5
    assert {"question": "how many things are there", "answers": ["two"]} in pairs.words.to_pylist()
