"""The data of a training: what is read, how it is drawn, and the batches that come of it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from capfilt.core.errors import ConfigError
from capfilt.training.batches import BATCHES

if TYPE_CHECKING:
    from capfilt.models.pixels import PixelSpec
    from capfilt.models.training.group import Group
    from capfilt.models.training.loop import Item
    from capfilt.models.training.system import System
    from capfilt.pipelines.training_data.pairs import TrainingPairs
    from capfilt.pipelines.training_data.sampler import Sampler
    from capfilt.training.config import TrainRecipe


def load_data(
    system: "System", locations: tuple[str, ...], recipe: "TrainRecipe", pixels: "PixelSpec"
) -> "TrainingPairs":
    """The images and texts that a system reads, as the recipe's `data` wants them.

    Raises:
        ConfigError: there are fewer of them than a batch has, images that keep their shape are to be augmented, or
            there are talks for a system that reads none.
        InputError: no such data, or of another kind.
    """
    from capfilt.pipelines.training_data.pairs import Wanted, load_pairs

    settings = recipe.data
    if pixels.mode == "fit" and (settings.crop or settings.flip or settings.changes):
        raise ConfigError(
            "data.crop, data.flip, data.changes: images that keep their shape are not augmented; set to 0"
        )
    if settings.talks and system.reads != "talks":
        raise ConfigError(f"data.talks: {system.name} learns from {system.reads}; only llava-tune reads talks")
    pairs = load_pairs(
        locations,
        Wanted(
            column=system.reads,
            talks=settings.talks,
            sources=settings.sources,
            score=settings.score,
            pixels=pixels,
            memory=settings.memory,
        ),
    )
    if len(pairs) < recipe.schedule.batch:
        raise ConfigError(
            f"schedule.batch = {recipe.schedule.batch}: {' '.join(locations)} has only {len(pairs)} images"
        )
    return pairs


def make_sampler(pairs: "TrainingPairs", recipe: "TrainRecipe") -> "Sampler":
    """How pairs are drawn into batches.

    Raises:
        ConfigError: a share of a source that no text has.
    """
    from capfilt.pipelines.training_data.sampler import SOURCES, Sampler, Sampling

    settings = recipe.data
    for source, share in settings.share.items():
        if share and not pairs.texts.count(SOURCES.index(source)):
            raise ConfigError(f"data.share: no text is of source {source}")
    sampling = Sampling(
        share=settings.share,
        temperature=settings.temperature,
        unit=settings.unit,
        window=settings.window,
        marked=settings.marked,
    )
    return Sampler(pairs.texts, pairs.wrong_starts, sampling, recipe.schedule.batch, recipe.work.seed)


def batches(
    system: "System", pairs: "TrainingPairs", sampler: "Sampler", group: "Group", recipe: "TrainRecipe"
) -> "Iterator[Item]":
    """Batches with this worker's pixels; where these are decoded or augmented, one batch ahead of the step."""
    from capfilt.pipelines.training_data.augment import Augmentation, augment, shown_texts

    part, make = group.part(sampler.size), BATCHES[system.reads]
    draws, settings = iter(sampler), recipe.data
    silent = [""] * sampler.size
    how = Augmentation(crop=settings.crop, flip=settings.flip, changes=settings.changes)

    def next_item() -> "Item":
        draw = next(draws)
        images = pairs.pixels(draw.pictures[part])
        if how:
            said = shown_texts(pairs.texts_of(draw), pairs.wrong_of(draw)) if system.reads != "images" else silent
            images = augment(images, said[part], how, (recipe.work.seed, draw.step), part.start)
        return make(pairs, draw, images, draw.step // recipe.schedule.accumulate), draw.position

    if pairs.held is not None and not how:
        while True:
            yield next_item()
    with ThreadPoolExecutor(1) as pool:
        # The position goes with each item: the sampler is one batch ahead of what was learned.
        coming = pool.submit(next_item)
        while True:
            item, coming = coming.result(), pool.submit(next_item)
            yield item


def all_texts(pairs: "TrainingPairs") -> Iterator[str]:
    """All texts, right and wrong; of questions their answers too."""
    for said in pairs.words.to_pylist():
        for one in said if isinstance(said, list) else [said]:
            if isinstance(one, str):
                yield one
            else:
                yield from (one["question"], *one["answers"]) if "question" in one else (one["text"],)
    yield from pairs.wrong.to_pylist()


def human_alone(system: "System", pairs: "TrainingPairs") -> list[str]:
    """A warning where a filter learns from no human text."""
    from capfilt.pipelines.training_data.sampler import SOURCES

    if system.name != "filter" or pairs.texts.count(SOURCES.index("human")):
        return []
    return ["warning: no human text: the filter learns web and synthetic texts as right, noise included"]


def left_out(pairs: "TrainingPairs") -> list[str]:
    """A line for every reason why images were left out."""
    return [f"left out: {count} images, {reason}" for reason, count in sorted(pairs.left_out.items())]
