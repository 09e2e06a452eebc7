"""What `capfilt evaluate` prints."""

from typing import TYPE_CHECKING, Final

from capfilt.cli.terminal import console
from capfilt.core.formatting import percent

if TYPE_CHECKING:
    from capfilt.pipelines.evaluation.evaluate import Evaluation
    from capfilt.pipelines.evaluation.paired import Difference
    from capfilt.pipelines.evaluation.vqa import VqaAccuracy
    from capfilt.pipelines.evaluation.zero_shot import ZeroShot

CAPTIONS: Final = {"bleu_4": "BLEU-4", "cider": "CIDEr"}


def say_evaluation(measured: "Evaluation") -> None:
    console.say(f"{measured.pictures} images, {measured.texts} human captions, {measured.wrong} wrong texts")
    for reason, count in sorted(measured.left_out.items()):
        console.say(f"skipped: {count} images, {reason}")
    _tables(measured)
    for note in measured.notes:
        console.say(f"note: {note}")


def say_differences(found: "dict[str, Difference]", against: str) -> None:
    """Paired differences; all but CIDEr are shares."""
    console.say(f"difference from {against} (percentage points; CIDEr as it is):")
    rows = []
    for name, one in found.items():
        unit, digits = (1, 2) if name == "cider" else (100, 1)
        mean, low, high = (f"{unit * value:+.{digits}f}" for value in (one.mean, one.low, one.high))
        rows.append((_name_of(name), mean, f"{low} to {high}"))
    console.table(("difference", "mean", "95 % interval"), rows)


def _name_of(measure: str) -> str:
    """`tr_1` -> TR R@1, `auc_itm` -> AUC itm."""
    side, _, rest = measure.partition("_")
    known = {"cider": "CIDEr", "accuracy": "accuracy"}
    return known.get(measure) or (f"AUC {rest}" if side == "auc" else f"{side.upper()} R@{rest}")


def say_classes(found: "ZeroShot") -> None:
    """Accuracies, and what guessing gives."""
    console.say(f"{len(found.ranks)} images of {len(found.classes)} classes")
    for reason, count in sorted(found.left_out.items()):
        console.say(f"skipped: {count} images, {reason}")
    rows = [
        ("top-1", percent(found.accuracy(1))),
        ("top-5", percent(found.accuracy(5))),
        ("mean of classes", percent(found.class_mean)),
        ("by chance, top-1", percent(1 / len(found.classes))),
    ]
    console.table(("zero-shot classification", "accuracy"), rows)


def say_answers(answered: "VqaAccuracy") -> None:
    """VQA accuracy, by kind of answer."""
    rows = [(kind, percent(value)) for kind, value in (("all", answered.accuracy), *answered.by_kind.items())]
    console.table((f"{answered.questions} questions", "VQA accuracy"), rows)


def _tables(measured: "Evaluation") -> None:
    if measured.captions:
        likeliest = [(CAPTIONS[name], value) for name, value in measured.captions.items()]
        console.table(("most likely captions", ""), likeliest)
        both = [("sampled", measured.drawn), ("human", measured.human)]
        names = ("distinct_1", "distinct_2", "vocabulary", "words", "different")
        heads = ("captions", "distinct-1", "distinct-2", "vocabulary", "words each", "different")
        console.table(heads, [(who, *(told[name] for name in names)) for who, told in both])
    if measured.auc:
        console.table(("right against wrong texts", "AUC"), list(measured.auc.items()))
    if measured.retrieval:
        sides = (("TR, texts of an image", "tr"), ("IR, the image of a text", "ir"))
        rows = [(name, *(percent(measured.retrieval[f"{side}_{at}"]) for at in (1, 5, 10))) for name, side in sides]
        console.table(("retrieval", "R@1", "R@5", "R@10"), rows)
