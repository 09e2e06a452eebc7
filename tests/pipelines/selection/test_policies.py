"""Policies: each against plain Python on random candidates, and the names of scores that they are given."""

import hashlib
import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capfilt.core import duckdb_sandbox, schema
from capfilt.core.config import SelectSettings
from capfilt.core.errors import ConfigError
from capfilt.pipelines.selection.policies import policy_names
from capfilt.pipelines.selection.policy import answer, check_policy, read_policy, show_captions

JUDGES = ("itm", "clip", "clip_2")
Row = dict[str, Any]
Fate = tuple[bool, str]
Key = Callable[[Row], tuple[Any, ...]]
Answer = dict[tuple[str, int], tuple[bool, int | None, str]]

scores = st.none() | st.sampled_from([0.0, 0.25, 0.5, 0.7, 1.0, math.nan, math.inf]) | st.floats(0, 1, width=32)
candidates = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["web", "synthetic", "human"]), scores, scores, scores), max_size=16
)
thresholds = st.sampled_from([0.0, 0.5, 0.7, 1.0, -0.25])


def table_of(rows: Sequence[tuple[int, str, float | None, float | None, float | None]]) -> pa.Table:
    """Candidates numbered within their image, in the order of `rows`."""
    seen: dict[int, int] = {}
    found = []
    for image, source, *given_scores in rows:
        seen[image] = seen.get(image, -1) + 1
        fixed = {"uid": f"{image:032x}", "candidate": seen[image], "source": source, "round": 0, "flags": []}
        found.append({**fixed, "text": f"text {image}", **dict(zip(JUDGES, given_scores, strict=True))})
    return pa.Table.from_pylist(found, schema=schema.captions_schema(JUDGES))


def said(table: pa.Table, chosen: SelectSettings) -> Answer:
    """What a policy says, by image and candidate."""
    judges = [name for name in table.schema.names if name not in schema.captions_schema(()).names]
    with duckdb_sandbox.connect({"candidates": table}) as connection:
        show_captions(connection, judges, chosen)
        answer(connection, read_policy(chosen.policy), chosen, judges)
        rows = connection.execute("FROM answer").fetchall()
    assert len({row[:2] for row in rows}) == len(rows)
    return {(uid.hex, number): (keep, rank, reason) for uid, number, keep, rank, reason in rows}


def rows_of(table: pa.Table) -> list[Row]:
    """The rows as a policy sees them: a NaN is no score."""
    return [
        {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
        for row in table.to_pylist()
    ]


def ranked(rows: list[Row], fates: list[Fate], key: Key) -> Answer:
    """Number the kept rows of each image by `key`."""
    by_image = defaultdict(list)
    for row, (keep, _) in zip(rows, fates, strict=True):
        if keep:
            by_image[row["uid"]].append(row)
    ranks = {
        (uid, row["candidate"]): rank
        for uid, some in by_image.items()
        for rank, row in enumerate(sorted(some, key=key), 1)
    }
    keys = [(row["uid"], row["candidate"]) for row in rows]
    return {key: (keep, ranks.get(key), reason) for key, (keep, reason) in zip(keys, fates, strict=True)}


def by(judge: str) -> Key:
    """Best score first, then by candidate; no score comes last."""
    return lambda row: (math.inf if row[judge] is None else -row[judge], row["candidate"])


@pytest.mark.slow
@settings(deadline=None, max_examples=20)
@given(candidates, thresholds, st.sampled_from(JUDGES))
def test_blip_judges_each_text_alone_but_human_ones(rows: list[Any], threshold: float, judge: str) -> None:
    def fate(row: Row) -> Fate:
        if row["source"] == "human":
            return True, "human"
        if row[judge] is None:
            return False, f"no {judge}"
        return (True, f"{judge} >= {threshold}") if row[judge] >= threshold else (False, f"{judge} < {threshold}")

    table = table_of(rows)
    seen = rows_of(table)
    wanted = ranked(seen, [fate(row) for row in seen], by(judge))
    assert said(table, SelectSettings(policy="blip", threshold=threshold, judge=judge)) == wanted


@pytest.mark.slow
@settings(deadline=None, max_examples=20)
@given(candidates)
def test_all_keeps_every_text(rows: list[Any]) -> None:
    table = table_of(rows)
    seen = rows_of(table)
    wanted = ranked(seen, [(True, "all")] * len(seen), lambda row: (row["candidate"],))
    assert said(table, SelectSettings(policy="all")) == wanted


@pytest.mark.slow
@settings(deadline=None, max_examples=20)
@given(candidates, st.integers(0, 3), st.sampled_from(JUDGES))
def test_blip2_keeps_the_top_k_of_all_texts(rows: list[Any], top: int, judge: str) -> None:
    table = table_of(rows)
    seen, wanted, least = rows_of(table), {}, top or 2
    for uid in {row["uid"] for row in seen}:
        for place, row in enumerate(sorted((r for r in seen if r["uid"] == uid), key=by(judge)), 1):
            keep = row[judge] is not None and place <= least
            reason = f"{judge} rank {place} {'<=' if place <= least else '>'} {least}" if row[judge] is not None else ""
            wanted[uid, row["candidate"]] = (keep, place if keep else None, reason or f"no {judge}")
    assert said(table, SelectSettings(policy="blip2", top=top, first=judge)) == wanted


@pytest.mark.slow
@settings(deadline=None, max_examples=20)
@given(candidates, st.integers(1, 3), st.integers(0, 2))
def test_laion_coco_lists_by_one_and_chooses_by_another(rows: list[Any], shortlist: int, top: int) -> None:
    table = table_of(rows)
    seen, wanted, most = rows_of(table), {}, top or 1
    for row in seen:
        own = "not synthetic" if row["source"] != "synthetic" else "no clip" if row["clip"] is None else "no clip_2"
        wanted[row["uid"], row["candidate"]] = (False, None, own)
    for uid in {row["uid"] for row in seen}:
        part = [r for r in seen if r["uid"] == uid and r["source"] == "synthetic"]
        part = sorted((r for r in part if r["clip"] is not None and r["clip_2"] is not None), key=by("clip"))
        for place, row in enumerate(part[shortlist:], shortlist + 1):
            wanted[uid, row["candidate"]] = (False, None, f"clip rank {place} > {shortlist}")
        for place, row in enumerate(sorted(part[:shortlist], key=by("clip_2")), 1):
            sign = "<=" if place <= most else ">"
            reason = f"clip_2 rank {place} {sign} {most}"
            wanted[uid, row["candidate"]] = (place <= most, place if place <= most else None, reason)
    assert said(table, SelectSettings(policy="laion-coco", shortlist=shortlist, top=top)) == wanted


@pytest.mark.slow
@settings(deadline=None, max_examples=20)
@given(candidates, st.sampled_from([0.01, 0.25, 0.3, 0.5, 0.7, 1.0]), st.booleans())
def test_quantile_keeps_the_best_fraction(rows: list[Any], fraction: float, per_source: bool) -> None:
    table = table_of(rows)
    seen = rows_of(table)
    pools = defaultdict(list)
    for row in seen:
        if row["clip"] is not None:
            pools[row["source"] if per_source else "all"].append(row["clip"])
    cuts = {
        pool: sorted(found, reverse=True)[max(math.ceil(round(len(found) * fraction, 9)), 1) - 1]
        for pool, found in pools.items()
    }

    def fate(row: Row) -> Fate:
        pool = row["source"] if per_source else "all"
        if row["clip"] is None:
            return False, "no clip"
        keep, cut = row["clip"] >= cuts[pool], str(np.float32(cuts[pool]))
        return keep, f"clip {'>=' if keep else '<'} {cut}, best {fraction} of {pool}"

    wanted = ranked(seen, [fate(row) for row in seen], by("clip"))
    assert (
        said(table, SelectSettings(policy="quantile", judge="clip", fraction=fraction, per_source=per_source)) == wanted
    )


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(candidates, thresholds, st.sampled_from([(), (0.5, 0.25, 0.7)]), st.integers(0, 3))
def test_ensemble_votes(rows: list[Any], threshold: float, own: tuple[float, ...], votes: int) -> None:
    table = table_of(rows)
    seen, least, bars = rows_of(table), votes or 2, own or (threshold,) * 3

    def count(row: Row) -> int:
        given_ = zip((row[judge] for judge in JUDGES), bars, strict=True)
        return sum(score is not None and score >= bar for score, bar in given_)

    fates = [
        (count(row) >= least, f"votes {count(row)} {'>=' if count(row) >= least else '<'} {least}") for row in seen
    ]
    wanted = ranked(seen, fates, lambda row: (-count(row), *by("itm")(row)))
    chosen = SelectSettings(policy="ensemble", judges=JUDGES, threshold=threshold, thresholds=own, votes=votes)
    assert said(table, chosen) == wanted


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(candidates, thresholds, st.sampled_from(["mean", "min"]))
def test_ensemble_takes_the_mean_or_the_least(
    rows: list[Any], threshold: float, combine: Literal["vote", "mean", "min"]
) -> None:
    table = table_of(rows)
    seen, judges = rows_of(table), ("clip", "itm")

    def value(row: Row) -> float | None:
        found = [row[judge] for judge in judges]
        return None if None in found else min(found) if combine == "min" else sum(found) / 2

    def fate(row: Row) -> Fate:
        if (number := value(row)) is None:
            return False, f"no {'clip' if row['clip'] is None else 'itm'}"
        return number >= threshold, f"{combine} {'>=' if number >= threshold else '<'} {threshold}"

    wanted = ranked(seen, [fate(row) for row in seen], lambda row: (-(value(row) or 0), *by("clip")(row)))
    assert said(table, SelectSettings(policy="ensemble", judges=judges, combine=combine, threshold=threshold)) == wanted


WORDS = ("dog", "cat", "red bus", "a", "on", "the", "bus")


def draws(uid: str, candidate: int, concept: str) -> float:
    """The number in 0..1 by which a text is drawn for a concept."""
    return int.from_bytes(hashlib.md5(f"{uid}{candidate}{concept}".encode()).digest()[:8], "little") / 2**64


@pytest.mark.parametrize("concepts", [(), ("dog",), ("Red-Bus", "the")])
def test_balance_draws_about_so_many_texts_of_each_concept(concepts: tuple[str, ...]) -> None:
    rng, most = random.Random(3), 20
    said_of = [
        (
            rng.choice(["web", "web", "human"]),
            rng.choice([0.9, 0.7, 0.2, None]),
            rng.choices(WORDS, k=rng.randint(0, 4)),
        )
        for number in range(300)
    ]
    table = table_of([(number, source, score, None, None) for number, (source, score, _) in enumerate(said_of)])
    texts = [", ".join(words).upper() for *_, words in said_of]
    table = table.set_column(table.column_names.index("text"), "text", pa.array(texts, pa.string()))
    seen = rows_of(table)
    part = [row["source"] != "human" and row["itm"] is not None and row["itm"] >= 0.5 for row in seen]
    phrases: list[set[str]] = []
    for row in seen:
        words = row["text"].lower().replace(",", "").split()
        phrases.append({*words, *(map(" ".join, pairwise(words)) if concepts else ())})
    numbers = Counter(phrase for some, here in zip(phrases, part, strict=True) if here for phrase in some)
    wanted = {one.lower().replace("-", " ") for one in concepts}
    known = {p for p, n in numbers.items() if (p in wanted if wanted else len(p) > 2 and n >= 2)}

    def fate(row: Row, own: set[str]) -> Fate:
        if row["source"] == "human":
            return True, "human"
        if row["itm"] is None:
            return False, "no itm"
        if row["itm"] < 0.5:
            return False, "itm < 0.5"
        if not own:
            return False, "no concept"
        rarest = min(own, key=lambda phrase: (numbers[phrase], phrase))
        keep = any(draws(row["uid"], row["candidate"], one) < most / numbers[one] for one in own)
        return keep, f"{'drawn' if keep else 'not drawn'}: {rarest} is in {numbers[rarest]} texts"

    fates = [fate(row, own & known) for row, own in zip(seen, phrases, strict=True)]
    chosen = SelectSettings(policy="balance", concepts=concepts, per_concept=most)
    assert said(table, chosen) == ranked(seen, fates, by("itm"))


def test_balance_thins_what_is_said_often_and_leaves_the_rare() -> None:
    table = table_of([(number, "web", 0.9, None, None) for number in range(1100)])
    texts = ["a dog"] * 1000 + ["a zebra"] * 50 + ["a dog and a zebra"] * 50
    table = table.set_column(table.column_names.index("text"), "text", pa.array(texts, pa.string()))
    fates = said(table, SelectSettings(policy="balance", per_concept=100))
    kept = [fates[f"{number:032x}", 0][0] for number in range(1100)]
    assert 60 < sum(kept[:1000]) < 130  # 1,050 dogs, 100 wanted: 95 are expected, give or take 9
    assert all(kept[1000:])  # 100 zebras: all are wanted, whatever stands beside them


def test_every_policy_that_ships_is_found_by_name_and_has_its_defaults() -> None:
    assert policy_names() == ["all", "balance", "blip", "blip2", "ensemble", "laion-coco", "mix", "quantile"]
    for name in set(policy_names()) - {"mix"}:
        check_policy(SelectSettings(policy=name), ("itm", "itc", "clip", "clip_2"))


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (
            SelectSettings(policy="blip2"),
            r"policy blip2: select\.first: there is no 'clip'; scores of this run: itm, itc",
        ),
        (SelectSettings(policy="laion-coco", first="itm"), r"select\.second: there is no 'clip_2'"),
        (SelectSettings(judge="nope"), r"policy blip: select\.judge: there is no 'nope'"),
        (SelectSettings(policy="quantile", judge="ITM"), r"select\.judge: there is no 'ITM'"),
        (SelectSettings(policy="ensemble", judges=("itm", "clip")), r"select\.judges: there is no 'clip'"),
        (SelectSettings(banned=("ok", "(")), r"select\.banned = '\(': .*missing \)"),
        (SelectSettings(banned=("a)(b",)), r"select\.banned = 'a\)\(b': .*unexpected \)"),
        (SelectSettings(banned=(r"\Qopen",)), r"select\.banned = .*open': "),
    ],
)
def test_what_a_run_does_not_have_is_said_before_any_work(chosen: SelectSettings, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        check_policy(chosen, ("itm", "itc"))
    assert "\n" not in str(caught.value)


def test_a_score_of_ones_own_sql_is_said_with_those_there_are(tmp_path: Path) -> None:
    file = tmp_path / "mine.sql"
    file.write_text("SELECT uid, candidate, clip > 0.3 AS keep, 1 AS rank, '' AS reason FROM captions")
    with pytest.raises(ConfigError, match=r'mine\.sql: .*"clip".* \(scores of this run: itm, itc\)') as caught:
        check_policy(SelectSettings(policy=str(file)), ("itm", "itc"))
    assert "\n" not in str(caught.value)
    check_policy(SelectSettings(policy=str(file)), ("clip",))


EVIL = (
    'itm" FROM captions; DROP TABLE candidates; --',
    "itm) FROM candidates; ATTACH '/tmp/x.db'; --",
    "1 AS judge, itm",
    "candidate",
    "itm'",
    '"itm"',
    "*",
)


@pytest.mark.parametrize("name", EVIL)
def test_nothing_but_a_score_can_be_named(name: str) -> None:
    for chosen in (SelectSettings(judge=name), SelectSettings(policy="ensemble", judges=("itm", name))):
        with pytest.raises(ConfigError, match=r"there is no .*; scores of this run: itm"):
            check_policy(chosen, ("itm",))


@pytest.mark.parametrize("name", EVIL[:3])
def test_a_score_with_an_odd_name_is_read_and_not_run(name: str) -> None:
    """A run of somebody else's may have any columns; their names stay names."""
    table = table_of([(0, "web", 0.9, 0.1, 0.5), (1, "web", 0.2, 0.1, 0.5)])
    table = table.rename_columns([name if column == "itm" else column for column in table.column_names])
    found = said(table, SelectSettings(judge=name))
    assert [keep for _, (keep, _, _) in sorted(found.items())] == [True, False]
    assert {reason for _, _, reason in found.values()} == {f"{name} >= 0.5", f"{name} < 0.5"}


def test_parameters_stay_values() -> None:
    table = table_of([(0, "web", 0.9, 0.1, 0.5)])
    with pytest.raises(duckdb.Error), duckdb_sandbox.connect({"candidates": table}) as connection:
        connection.execute(
            "SELECT $x FROM candidates", {"x": 1, "y": 2}
        )  # why `execute` gives only those that are used
    assert said(table, SelectSettings(judge="itm", threshold=0.5))[f"{0:032x}", 0] == (True, 1, "itm >= 0.5")
