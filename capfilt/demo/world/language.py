"""The little language of the world: how its pictures are told, and the rule for when a text is right.

A text is RIGHT for a picture if and only if it is one complete phrase of the grammar below and every statement it makes
(size, color, shape, relation, background) is true of the picture, where two mentioned things are two things of it. So
a right text names a thing at least and may leave all else out. Case, punctuation, articles and the opening ("a photo
of", "there is") state nothing. All other text is wrong: half sentences, chains of relations, words not listed here.

    caption    = [ ground ] [ opening ] things | [ opening ] things [ ground ] ;
    opening    = article ( "photo" | "picture" | "image" | "drawing" ) ( "of" | "with" | "showing" )
               | "there" ( "is" | "are" ) | "this" "is" ;
    things     = thing [ ( [ "is" ] relation | "and" ) thing ] ;
    thing      = [ article ] [ size ] [ color ] shape ;
    article    = "a" | "an" | "the" | "one" ;
    size       = "small" | "tiny" | "little" | "large" | "big" ;
    relation   = [ "to" "the" ] ( "left" | "right" ) "of" | "on" "the" ( "left" | "right" ) "side" "of"
               | "above" | "over" | "below" | "under" | "beneath" ;
    ground     = ( "on" | "against" | "with" ) article [ "plain" ] background "background"
               | ( "on" | "against" ) background ;
    background = "white" | "black" | "gray" | "grey" | "beige" | "navy" ;
    color, shape = the words of COLORS and of SHAPES ;
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Final

import numpy as np

from capfilt.demo.world.boilerplate import boilerplate
from capfilt.demo.world.scene import BACKGROUNDS, COLORS, INVERSE, RELATIONS, SHAPES, SIZES, Scene, pick, random_scene

# A word that stands twice is drawn twice as often.
_SIZE_WORDS: Final = {"small": ("small", "small", "tiny", "little"), "large": ("large", "large", "big")}
_RELATION_WORDS: Final = {
    "to the left of": ("to the left of", "to the left of", "left of", "on the left side of"),
    "to the right of": ("to the right of", "to the right of", "right of", "on the right side of"),
    "above": ("above", "above", "over"),
    "below": ("below", "below", "under", "beneath"),
}
_BACKGROUND_WORDS: Final = {name: (name,) for name in BACKGROUNDS} | {"gray": ("gray", "grey")}
_ARTICLES: Final = ("a", "an", "the", "one")
_PICTURES: Final = ("photo", "picture", "image", "drawing")


@dataclass(frozen=True, slots=True)
class Mention:
    """What a text says of one thing; None where it says nothing."""

    size: str | None
    color: str | None
    shape: str


@dataclass(frozen=True, slots=True)
class Claims:
    """All that a text states; `things[0]` lies `relation` `things[1]`."""

    things: tuple[Mention, ...]
    relation: str | None
    background: str | None


def describe(scene: Scene) -> str:
    """The canonical caption: complete, always worded alike, `parse` gives the whole truth back."""
    things = f" {scene.relation} ".join(f"a {thing.size} {thing.color} {thing.shape}" for thing in scene.things)
    return f"{things} on a {scene.background} background"


def parse(text: str) -> Claims | None:
    """What the text states, in the words of `scene`; None if it is no complete phrase of the language."""
    match = _CAPTION.fullmatch(" ".join(_SEPARATORS.split(text.lower())).strip())
    if match is None:
        return None
    said = match.groupdict()
    things = tuple(_mention(said, n) for n in (0, 1) if said[f"shape{n}"])
    background = next((said[f"ground{n}"] for n in range(4) if said[f"ground{n}"]), None)
    return Claims(things, _meaning(_RELATION_WORDS, said["relation"]), _meaning(_BACKGROUND_WORDS, background))


def is_right(text: str, truth: str) -> bool:
    """Whether the text is right for the picture whose canonical caption is `truth`: the rule of this world.

    Any string may be asked about. A `truth` that no scene has raises ValueError.
    """
    facts = parse(truth)
    if facts is None or not _is_whole(facts):
        raise ValueError(f"not the canonical caption of a scene: {truth!r}")
    claims = parse(text)
    return claims is not None and _all_true(claims, facts)


def paraphrase(scene: Scene, rng: np.random.Generator) -> str:
    """All of the truth, in the words of one of many annotators."""
    return _say(_facts(scene), rng)


def partial(scene: Scene, rng: np.random.Generator) -> str:
    """A right and complete phrase that leaves out the background, the sizes, the relation or one of two things."""
    claims = _facts(scene)
    names = tuple(_OMISSIONS) if len(scene.things) > 1 else ("background", "sizes")
    surely = pick(rng, names)
    for name in names:
        if name == surely or rng.random() < 0.25:
            claims = _OMISSIONS[name](claims, rng)
    return _say(claims, rng)


def brief(scene: Scene, rng: np.random.Generator, facts: int) -> str:
    """A right and complete phrase that names all things, and `facts` of their sizes, colors and the background."""
    claims = _facts(scene)
    names = [(n, name) for n in range(len(scene.things)) for name in ("size", "color")] + [(-1, "background")]
    told = {names[place] for place in rng.choice(len(names), min(facts, len(names)), replace=False)}
    things = [
        Mention(thing.size if (n, "size") in told else None, thing.color if (n, "color") in told else None, thing.shape)
        for n, thing in enumerate(claims.things)
    ]
    ground = claims.background if (-1, "background") in told else None
    return _say(replace(claims, things=tuple(things), background=ground), rng)


def half_sentence(scene: Scene, rng: np.random.Generator) -> str:
    """A right caption broken off where it is no complete phrase."""
    while True:
        words = paraphrase(scene, rng).split()
        text = " ".join(words[: int(rng.integers(2, len(words)))])
        if parse(text) is None:
            return text


def wrong_detail(scene: Scene, rng: np.random.Generator) -> str:
    """A caption with one detail changed: a thing's size, color or shape, the relation or the background."""
    truth = describe(scene)
    while True:
        changed = _one_change(scene, rng)
        text = paraphrase(changed, rng) if rng.random() < 0.5 else partial(changed, rng)
        if not is_right(text, truth):
            return text


def other_caption(scene: Scene, rng: np.random.Generator) -> str:
    """The caption of another picture that does not happen to be right for this one."""
    truth = describe(scene)
    while True:
        other = random_scene(rng)
        text = paraphrase(other, rng) if rng.random() < 0.5 else partial(other, rng)
        if not is_right(text, truth):
            return text


def wrong_texts(scene: Scene, rng: np.random.Generator, k: int) -> list[str]:
    """`k` texts that are not right: about half by one detail, others broken off, another picture's, or boilerplate."""
    makers = (wrong_detail, half_sentence, other_caption, lambda _, rng: boilerplate(rng))
    return [makers[int(n)](scene, rng) for n in rng.choice(4, size=k, p=(0.5, 0.2, 0.15, 0.15))]


def _facts(scene: Scene) -> Claims:
    things = tuple(Mention(thing.size, thing.color, thing.shape) for thing in scene.things)
    return Claims(things, scene.relation, scene.background)


def _is_whole(claims: Claims) -> bool:
    told = all(thing.size and thing.color for thing in claims.things) and claims.background is not None
    return told and (claims.relation is not None) == (len(claims.things) == 2)


def _all_true(claims: Claims, facts: Claims) -> bool:
    return claims.background in (None, facts.background) and any(
        _true_in_order(claims, facts, order) for order in permutations(range(len(facts.things)), len(claims.things))
    )


def _true_in_order(claims: Claims, facts: Claims, order: Sequence[int]) -> bool:
    """Whether all is true if the mentioned things are the picture's things number `order`."""
    relation = INVERSE[facts.relation] if facts.relation and tuple(order) == (1, 0) else facts.relation
    return claims.relation in (None, relation) and all(
        mention.size in (None, fact.size) and mention.color in (None, fact.color) and mention.shape == fact.shape
        for mention, fact in zip(claims.things, (facts.things[n] for n in order), strict=True)
    )


def _say(claims: Claims, rng: np.random.Generator) -> str:
    things = [_noun(mention, rng) for mention in claims.things]
    relation = claims.relation
    if rng.random() < 0.5 and len(things) > 1:
        things, relation = things[::-1], INVERSE[relation] if relation else None
    opening = pick(rng, _OPENINGS) if rng.random() < 0.5 else ""
    link = pick(rng, _RELATION_WORDS[relation]) if relation else "and"
    if relation and not opening and rng.random() < 0.2:
        link = f"is {link}"
    ground = _ground(claims.background, rng) if claims.background else ""
    body = f" {link} ".join(things)
    first = ground and opening in ("", "there is") and not ground.startswith("with") and rng.random() < 0.2
    return " ".join(filter(None, (ground, opening, body) if first else (opening, body, ground)))


def _noun(mention: Mention, rng: np.random.Generator) -> str:
    size = pick(rng, _SIZE_WORDS[mention.size]) if mention.size else None
    words = " ".join(filter(None, (size, mention.color, mention.shape)))
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def _ground(background: str, rng: np.random.Generator) -> str:
    word = pick(rng, _BACKGROUND_WORDS[background])
    return pick(rng, _GROUNDS).format(word)


_OPENINGS: Final = (
    "there is",
    "there is",
    "this is",
    "a photo of",
    "a picture of",
    "an image of",
    "a drawing of",
    "a picture showing",
    "an image with",
)
_GROUNDS: Final = (
    "on a {} background",
    "on a {} background",
    "against a {} background",
    "with a {} background",
    "on a plain {} background",
    "on {}",
    "against {}",
)


def _without_sizes(claims: Claims, _: np.random.Generator) -> Claims:
    return replace(claims, things=tuple(replace(thing, size=None) for thing in claims.things))


def _without_one_thing(claims: Claims, rng: np.random.Generator) -> Claims:
    return replace(claims, things=(claims.things[int(rng.integers(len(claims.things)))],), relation=None)


_OMISSIONS: Final[dict[str, Callable[[Claims, np.random.Generator], Claims]]] = {
    "background": lambda claims, _: replace(claims, background=None),
    "sizes": _without_sizes,
    "thing": _without_one_thing,
    "relation": lambda claims, _: replace(claims, relation=None),
}


def _one_change(scene: Scene, rng: np.random.Generator) -> Scene:
    """The scene with one detail another, or with a detail of its two things exchanged."""
    detail = pick(rng, ("size", "color", "shape", "background", "relation", "exchange"))
    if detail == "background" or (scene.relation is None and detail in ("relation", "exchange")):
        return replace(scene, background=_other(BACKGROUNDS, scene.background, rng))
    if detail == "relation" and scene.relation is not None:
        return replace(scene, relation=_other(RELATIONS, scene.relation, rng))
    if detail == "exchange":
        first, second = scene.things
        name = pick(rng, ("size", "color", "shape"))
        pair = replace(first, **{name: getattr(second, name)}), replace(second, **{name: getattr(first, name)})
        return replace(scene, things=pair)
    n = int(rng.integers(len(scene.things)))
    thing = scene.things[n]
    changed = replace(thing, **{detail: _other(_WORDS[detail], getattr(thing, detail), rng)})
    return replace(scene, things=(*scene.things[:n], changed, *scene.things[n + 1 :]))


_WORDS: Final[dict[str, Iterable[str]]] = {"size": SIZES, "color": COLORS, "shape": SHAPES}


def _other(words: Iterable[str], word: str, rng: np.random.Generator) -> str:
    return pick(rng, [other for other in words if other != word])


def _mention(said: dict[str, str | None], n: int) -> Mention:
    return Mention(_meaning(_SIZE_WORDS, said[f"size{n}"]), said[f"color{n}"], said[f"shape{n}"] or "")


def _meaning(words: Mapping[str, tuple[str, ...]], word: str | None) -> str | None:
    """The name that a synonym stands for."""
    return next((name for name, synonyms in words.items() if word in synonyms), None)


def _any(words: Iterable[str]) -> str:
    return "(?:" + "|".join(sorted(set(words))) + ")"


def _every(words: Mapping[str, tuple[str, ...]]) -> str:
    return _any(word for synonyms in words.values() for word in synonyms)


def _thing_pattern(n: int) -> str:
    size, color, shape = _every(_SIZE_WORDS), _any(COLORS), _any(SHAPES)
    return f"(?:{_any(_ARTICLES)} )?(?:(?P<size{n}>{size}) )?(?:(?P<color{n}>{color}) )?(?P<shape{n}>{shape})"


def _ground_pattern(n: int) -> str:
    word, article = _every(_BACKGROUND_WORDS), _any(_ARTICLES)
    long = f"(?:on|against|with) {article} (?:plain )?(?P<ground{n}>{word}) background"
    return f"(?:{long}|(?:on|against) (?P<ground{n + 1}>{word}))"


def _caption_pattern() -> str:
    opening = f"(?:{_any(_ARTICLES)} {_any(_PICTURES)} (?:of|with|showing)|there (?:is|are)|this is)"
    link = f"(?:(?:is )?(?P<relation>{_every(_RELATION_WORDS)})|and)"
    before = f"(?P<first>{_ground_pattern(0)} )?(?:{opening} )?"
    # A background is told before the things or behind them, not twice.
    after = f"(?(first)|(?: {_ground_pattern(2)})?)"
    return f"{before}{_thing_pattern(0)}(?: {link} {_thing_pattern(1)})?{after}"


_SEPARATORS: Final = re.compile(r"[\W_]+")
_CAPTION: Final = re.compile(_caption_pattern())
