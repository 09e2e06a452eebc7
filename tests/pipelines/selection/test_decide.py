"""decide: flags, the mix of sources and calibrated scores, against plain Python, over files as a run leaves them."""

import json
import re
import tempfile
import unicodedata
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capfilt.core import schema
from capfilt.core.config import SelectSettings
from capfilt.core.errors import ConfigError
from capfilt.core.serialization import parquet_bytes
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.recipes.load import load_recipe
from capfilt.pipelines.selection.decide import decide
from capfilt.pipelines.selection.policy import read_policy
from capfilt.pipelines.selection.scores import KNOTS
from capfilt.pipelines.selection.text_rules import TEXT_RULES

CAPTIONS = schema.captions_schema(("itm",))
Row = dict[str, Any]
Fate = tuple[bool, int | None, str]


def write_captions(ledger: Ledger, rows: list[Row], chunks: int = 2) -> None:
    """captions/ and commits/ of a run, and nothing else: what deciding reads. An image's rows stand together."""
    parts: list[list[Row]] = [[] for _ in range(chunks)]
    for row in sorted(rows, key=lambda row: (row["uid"], row["candidate"])):
        parts[int(row["uid"], 16) % chunks].append(row)
    for number, part in enumerate(parts):
        name, table = f"{number:06d}.parquet", pa.Table.from_pylist(part, schema=CAPTIONS)
        images = len({row["uid"] for row in part})
        record = {
            "chunk": name[:6],
            "rows": images,
            "images": images,
            "failures": 0,
            "captions": len(part),
            "spec": "5",
        }
        for folder, content in (("captions", table), ("commits", pa.Table.from_pylist([record], schema.COMMITS))):
            path = Path(ledger.folder.full(f"{folder}/{name}"))  # not by Folder.write, which waits for the disk
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(parquet_bytes(content))


def row_of(image: int, candidate: int, text: str = "a cat", **more: Any) -> Row:
    fixed = {"uid": f"{image:032x}", "candidate": candidate, "source": "web", "text": text, "round": 0, "flags": []}
    return {**fixed, "itm": 0.9, **more}


def numbered(rows: list[Row]) -> list[Row]:
    """The rows with candidates numbered within their image."""
    seen: Counter[str] = Counter()
    for row in rows:
        row["candidate"] = seen[row["uid"]]
        seen[row["uid"]] += 1
    return rows


def decided(
    rows: list[Row], chosen: SelectSettings, files: dict[str, Any] | None = None
) -> dict[tuple[str, int], Fate]:
    """What is decided of each, by image and candidate."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger.at(folder)
        write_captions(ledger, rows)
        for name, content in (files or {}).items():
            ledger.folder.write(name, json.dumps(content).encode())
        captions = ledger.dataset("captions", CAPTIONS).to_table(columns=["uid", "candidate"]).to_pylist()
        with decide(ledger, sorted(ledger.committed()), read_policy(chosen.policy), chosen) as verdicts:
            fates = verdicts.read_all().to_pylist()
    return {
        (row["uid"], row["candidate"]): (fate["keep"], fate["rank"], fate["reason"])
        for row, fate in zip(captions, fates, strict=True)
    }


def reasons(texts: list[str], chosen: SelectSettings) -> list[str]:
    """Why each text, of an image of its own, is kept or dropped."""
    found = decided([row_of(image, 0, text) for image, text in enumerate(texts)], chosen)
    return [found[f"{image:032x}", 0][2] for image in range(len(texts))]


WORDS = st.sampled_from(["a", "A", "cat", "dog", "red", "Кот", "кот", "猫猫", "42", "IMG_1.jpg", "-"])
TEXTS = st.lists(WORDS, max_size=8).map(" ".join) | st.sampled_from(["", " \t", "a\ncat\ta  cat", "naïve café"])
FLAGGED = st.lists(
    st.tuples(
        st.integers(0, 3), st.sampled_from(["web", "synthetic"]), TEXTS, st.sampled_from([[], ["empty"], ["x", "y"]])
    ),
    max_size=12,
)


def latin_share(text: str) -> tuple[int, int]:
    letters = [char for char in text if unicodedata.category(char).startswith("L")]
    return sum(unicodedata.name(char).startswith("LATIN") for char in letters), len(letters)


def flag_of(row: Row, rows: list[Row], chosen: SelectSettings) -> str:
    """The first flag that rules a text out, or nothing."""
    text, words = row["text"], re.findall(r"[^ \t\n\f\r]+", row["text"].lower())
    pairs = list(pairwise(words))
    same = {other["uid"] for other in rows if other["source"] == "web" and other["text"].lower() == text.lower()}
    latin, letters = latin_share(text)
    found = {
        **{flag: flag in chosen.flags for flag in row["flags"]},
        "short": len(words) < chosen.min_words,
        "long": 0 < chosen.max_words < len(words),
        "repetition": len(pairs) > 0 and 1 - len(set(pairs)) / len(pairs) > chosen.max_repetition,
        "many images": row["source"] == "web" and 0 < chosen.max_images < len(same),
        "script": chosen.scripts == ("Latin",) and 2 * latin < letters,
        "banned": any(re.search(pattern, text, re.IGNORECASE) for pattern in chosen.banned),
    }
    return next((f"flag: {flag}" for flag, holds in found.items() if holds), "")


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(
    FLAGGED,
    st.fixed_dictionaries(
        {
            "flags": st.sampled_from([(), ("empty",), ("y", "empty")]),
            "min_words": st.sampled_from([0, 2]),
            "max_words": st.sampled_from([0, 4]),
            "max_repetition": st.sampled_from([0.0, 0.34, 1.0]),
            "max_images": st.sampled_from([0, 1, 2]),
            "scripts": st.sampled_from([(), ("Latin",)]),
            "banned": st.sampled_from([(), ("dog$", "r.d"), ("^a|猫",)]),
        }
    ),
)
def test_flags_are_what_plain_python_says(rows: list[Any], asked: dict[str, Any]) -> None:
    table = numbered([row_of(image, 0, text, source=source, flags=flags) for image, source, text, flags in rows])
    chosen = SelectSettings(**asked)
    wanted = {(row["uid"], row["candidate"]): flag_of(row, table, chosen) or "itm >= 0.5" for row in table}
    found = decided(table, chosen)
    assert {key: reason for key, (_, _, reason) in found.items()} == wanted
    assert all(keep == (reason == "itm >= 0.5") for keep, _, reason in found.values())


@pytest.mark.parametrize(
    ("text", "is_boilerplate"),
    [
        ("IMG_1234.jpg", True),
        ("DSC01234", True),
        ("image (3)", True),
        ("photo", True),
        ("Click here to buy", True),
        ("red shoes free shipping", True),
        ("Copyright 2011 All Rights Reserved", True),
        ("page 3 of 14", True),
        ("a photo of a red bus", False),
        ("an image with a blue ring", False),
        ("stock car race in Dover", False),
        ("a page of an old book", False),
        ("the logo of a football club on a wall", False),
    ],
)
def test_boilerplate(text: str, is_boilerplate: bool) -> None:
    assert reasons([text], SelectSettings(boilerplate=True)) == [
        "flag: boilerplate" if is_boilerplate else "itm >= 0.5"
    ]
    assert reasons([text], SelectSettings()) == ["itm >= 0.5"]


def test_every_flag_is_a_setting_that_is_off_until_asked_for() -> None:
    for flag in TEXT_RULES:
        assert f"${flag.setting}" in flag.sql or flag.setting == "boilerplate"
        assert SelectSettings.model_fields[flag.setting].description
    assert reasons(["", "x", "dai dai dai dai", "猫"], SelectSettings(flags=())) == ["itm >= 0.5"] * 4


def test_a_text_that_is_ruled_out_takes_no_rank() -> None:
    rows = [
        row_of(0, 0, "free shipping", itm=0.99),
        row_of(0, 1, itm=0.8),
        row_of(0, 2, itm=0.7),
        row_of(0, 3, itm=0.6),
    ]
    found = decided(rows, SelectSettings(policy="blip2", first="itm", boilerplate=True))
    assert [found[f"{0:032x}", number][:2] for number in range(4)] == [
        (False, None),
        (True, 1),
        (True, 2),
        (False, None),
    ]


def test_a_banned_pattern_is_a_value_and_not_sql() -> None:
    assert reasons(["it's", "its"], SelectSettings(banned=("it's",))) == ["flag: banned", "itm >= 0.5"]
    assert reasons(["x"], SelectSettings(banned=("x'; DROP TABLE places; --",))) == ["itm >= 0.5"]


def mixed(found: dict[tuple[str, int], Fate], rows: list[Row], share: float) -> dict[tuple[str, int], Fate]:
    """The target mix in plain Python: the side that has too many loses its worst ranks, the last uids of them first."""
    sources = {(row["uid"], row["candidate"]): row["source"] for row in rows}
    sides = {
        side: [key for key, fate in found.items() if fate[0] and sources[key] == side] for side in ("web", "synthetic")
    }
    web, synthetic = (len(sides[side]) for side in ("web", "synthetic"))
    with np.errstate(all="ignore"):
        most = {
            "synthetic": np.divide(web * share, 1 - share),
            "web": np.divide(synthetic * (1 - share), share),
        }
    out = set()
    for side, keys in sides.items():
        for number, key in enumerate(sorted(keys, key=lambda key: (found[key][1], *key)), 1):
            if number > most[side] + 1e-6:
                out.add(key)
    wanted = {
        key: (False, None, f"mix: too many {sources[key]}") if key in out else fate for key, fate in found.items()
    }
    for uid in {key[0] for key in wanted}:
        left = sorted((fate[1], key) for key, fate in wanted.items() if key[0] == uid and fate[0])
        wanted |= {key: (True, rank, wanted[key][2]) for rank, (_, key) in enumerate(left, 1)}
    return wanted


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**128 - 1) | st.integers(0, 4),
            st.sampled_from(["web", "synthetic", "human"]),
            st.floats(0, 1, width=32),
        ),
        max_size=20,
    ),
    st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]),
)
def test_the_mix_is_what_plain_python_says(rows: list[Any], share: float) -> None:
    table = numbered([row_of(image, 0, source=source, itm=itm) for image, source, itm in rows])
    wanted = mixed(decided(table, SelectSettings()), table, share)
    assert decided(table, SelectSettings(synthetic_share=share)) == wanted


def test_a_mix_comes_close_to_the_share_and_drops_no_more_than_it_must() -> None:
    rows = [row_of(n, 0, source="web" if n % 4 else "synthetic") for n in range(400)]
    kept = [key for key, fate in decided(rows, SelectSettings(synthetic_share=0.4)).items() if fate[0]]
    assert Counter("web" if int(uid, 16) % 4 else "synthetic" for uid, _ in kept) == {"synthetic": 100, "web": 150}


KNOWN = {"itm": {"web": {"x": [0.0, 0.5, 1.0], "y": [0.0, 0.1, 1.0]}, "all": {"x": [0.2, 0.4], "y": [0.0, 1.0]}}}


def test_calibrated_scores_are_those_between_the_knots_of_the_source() -> None:
    scores = [0.0, 0.25, 0.6, 0.75, 1.0, None, float("nan")]
    rows = [
        row_of(n, k, source=source, itm=itm)
        for n, itm in enumerate(scores)
        for k, source in enumerate(("web", "human"))
    ]
    found = decided(rows, SelectSettings(calibrated=True), {KNOTS: KNOWN})
    for n, itm in enumerate(scores):
        for k, source in enumerate(("web", "human")):
            knots = KNOWN["itm"]["web" if source == "web" else "all"]
            chance = None if itm is None or np.isnan(itm) else np.interp(itm, knots["x"], knots["y"])
            reason = "no itm" if chance is None else "itm >= 0.5" if chance >= 0.5 else "itm < 0.5"
            if source == "human":  # kept whatever its score
                reason = "human"
            assert found[f"{n:032x}", k][2] == reason


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"select\.calibrated: .*isotonic\.json is missing; run `capfilt calibrate` first"),
        ({KNOTS: {"clip": {}}}, r"select\.judge: there is no 'itm'; calibrated scores of this run: none"),
    ],
)
def test_scores_that_are_not_calibrated(files: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        decided([row_of(0, 0)], SelectSettings(calibrated=True), files)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("select.thresholds=[0.5]", r"select\.thresholds = \[0\.5\]: .*one for each of the 2 judges itm, clip"),
        ("select.votes=3", r"select\.votes = 3: .*more than there are judges"),
        ("select.judges=[]", r"select\.judges"),
        ("select.synthetic_share=-0.5", r"select\.synthetic_share = -0\.5: .*must be in 0\.\.1, or -1"),
        ("select.fraction=0", r"select\.fraction = 0"),
        ('select.scripts=["Klingon"]', r"select\.scripts\.0 = 'Klingon'.*'Latin'"),
        ("select.combine=median", r"select\.combine = 'median'.*'vote', 'mean' or 'min'"),
        ("select.threshold=nan", r"select\.threshold = nan"),
    ],
)
def test_impossible_settings_are_refused_by_name(change: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_recipe("blip", (change,))
    assert "\n" not in str(caught.value)


def test_flags_and_mix_hold_for_a_policy_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.sql"
    file.write_text("SELECT uid, candidate, true AS keep, candidate + 1 AS rank, source AS reason FROM captions")
    rows = [row_of(0, 0, source="web"), row_of(0, 1, source="synthetic"), row_of(1, 0, "x x x x", source="web")]
    found = decided(rows, SelectSettings(policy=str(file), max_repetition=0.5, synthetic_share=1.0))
    assert [fate for _, fate in sorted(found.items())] == [
        (False, None, "mix: too many web"),
        (True, 1, "synthetic"),
        (False, None, "flag: repetition"),
    ]
