"""Near-duplicates: exact for images, verified for texts, and groups with one row that stands for them."""

import io
import random
from collections.abc import Callable, Iterable
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from capfilt.core import schema
from capfilt.core.errors import ConfigError, InputError
from capfilt.core.storage import Folder
from capfilt.pipelines.dedup import hamming
from capfilt.pipelines.dedup.dedup import find_duplicates
from capfilt.pipelines.dedup.groups import leaders
from capfilt.pipelines.dedup.hamming import near_pairs
from capfilt.pipelines.dedup.lookalikes import distinct
from capfilt.pipelines.dedup.minhash import jaccard, plain, similar_pairs
from capfilt.pipelines.imaging.fingerprints.color_layout import BYTES, color_layout, layouts_of, same_colors
from capfilt.pipelines.imaging.fingerprints.phash import phash, thumbnail
from capfilt.pipelines.query import run_query
from command_line import invoke
from pictures import picture
from staged_run import MakeRun, Pair, Run, tree

Picture = Callable[..., bytes]


def crowd(count: int, seed: int) -> NDArray[np.uint64]:
    """Different hashes, most of them a few bits from another one."""
    rng = random.Random(seed)
    found = [rng.getrandbits(64) for _ in range(max(count // 4, 1))]
    while len(found) < count:
        found.append(rng.choice(found) ^ sum(1 << bit for bit in rng.sample(range(64), rng.randint(0, 9))))
    hashes = np.array(list(dict.fromkeys(found)), np.uint64)
    return hashes


def all_pairs(hashes: NDArray[np.uint64], radius: int) -> set[tuple[int, int]]:
    """Each compared with each."""
    bits = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    return {(int(i), int(j)) for i, j in np.argwhere(bits <= radius) if i < j}


def as_list(blocks: Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]]) -> list[tuple[int, int]]:
    return [(int(i), int(j)) for left, right in blocks for i, j in zip(left, right, strict=True)]


@pytest.mark.parametrize("radius", [0, 1, 2, 3, 4, 5, 7, 8, 12, 16])
@pytest.mark.parametrize("count", [0, 1, 2, 40, 700])
def test_every_near_pair_is_found_once(count: int, radius: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hamming, "AT_ONCE", 97)  # so that blocks are cut
    hashes = crowd(count, radius)[:count]
    found = as_list(near_pairs(hashes, radius))
    assert len(found) == len(set(found))
    assert set(found) == all_pairs(hashes, radius)


def test_many_hashes_take_wide_bands() -> None:
    hashes = crowd(20_000, 1)
    sample = np.arange(0, len(hashes), 97)
    found = set(as_list(near_pairs(hashes, 4)))
    for one in sample:
        near = set(np.flatnonzero(np.bitwise_count(hashes ^ hashes[one]) <= 4).tolist()) - {int(one)}
        assert near == {j if i == one else i for i, j in found if one in (i, j)}


edges = st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)).filter(lambda pair: pair[0] < pair[1]))


@settings(max_examples=200, deadline=None)
@given(edges, st.integers(0, 20))
def test_a_leader_is_near_and_no_two_leaders_are(edges: list[tuple[int, int]], fixed: int) -> None:
    left, right = np.array(edges, np.int64).reshape(-1, 2).T
    leader = leaders(20, [(left, right)], fixed)
    near = set(edges)
    for item, head in enumerate(leader.tolist()):
        assert leader[head] == head
        assert item == head or (head, item) in near
    free = {item for item, head in enumerate(leader.tolist()) if item == head and item >= fixed}
    assert not [pair for pair in near if pair[1] in free and leader[pair[0]] == pair[0]]
    assert (leader[:fixed] == np.arange(20)[:fixed]).all()


def test_images_by_look(
    make_run: MakeRun,
) -> None:
    rows = [
        Pair("http://a/0", picture(1, 64)),
        Pair("http://a/1", picture(2, 64)),
        Pair("http://a/2", picture(1, 200)),  # the largest stands for the others
        Pair("http://a/3", picture(1, 64, quality=40)),
        Pair("http://a/4", picture(1, 64)),  # the same bytes, in another chunk
        Pair("http://a/5", picture(3, 64)),
        Pair("http://a/6", picture(2, 64, format="PNG")),
        Pair("http://a/7", picture(4, 64)),
    ]
    run = make_run(rows).finish()
    found = find_duplicates(run.ledger.folder, radius=4, similarity=0.8)
    uids = {row["url"]: row["uid"] for row in run.table("images")}
    table = pq.read_table(run.out / "duplicates/images.parquet").to_pylist()
    assert [(row["uid"], row["representative"], row["group"]) for row in table[:1]] == [
        (uids["http://a/2"], uids["http://a/2"], 0)
    ]
    assert {row["uid"] for row in table if row["group"] == 0} == {uids[f"http://a/{n}"] for n in (0, 2, 3, 4)}
    assert {row["uid"] for row in table if row["group"] == 1} == {uids[f"http://a/{n}"] for n in (1, 6)}
    assert all(row["distance"] <= 4 and row["run"] == "" for row in table)
    assert (found.images.groups, found.images.rows, found.images.spare) == (2, 6, 4)


def test_another_run_stands_for_what_is_like_its_own(
    make_run: MakeRun,
) -> None:
    old = make_run([Pair("http://a/0", picture(1, 64)), Pair("http://a/1", picture(9, 64))], "old").finish()
    new = make_run([Pair("http://b/0", picture(1, 200)), Pair("http://b/1", picture(5, 64))], "new").finish()
    find_duplicates(new.ledger.folder, radius=4, similarity=0.8)
    assert pq.read_table(new.out / "duplicates/images.parquet").num_rows == 0
    found = find_duplicates(new.ledger.folder, radius=4, similarity=0.8, against=[str(old.out)])
    (row,) = pq.read_table(new.out / "duplicates/images.parquet").to_pylist()
    earlier = {image["url"]: image["uid"] for image in old.table("images")}
    assert (row["representative"], row["run"]) == (earlier["http://a/0"], str(old.out))
    assert (found.images.groups, found.images.rows, found.images.spare) == (1, 1, 1)
    with pytest.raises(InputError, match="no run here"):
        find_duplicates(new.ledger.folder, radius=4, similarity=0.8, against=[str(old.out / "images")])


@pytest.mark.slow
@pytest.mark.parametrize("similarity", [0.7, 0.8, 0.9])
def test_similar_texts_are_verified_and_hardly_missed(similarity: float) -> None:
    rng = random.Random(5)
    words = ["dog", "beach", "running", "woman", "umbrella", "red", "street", "holding", "sunset", "two", "playing"]
    texts = [" ".join(rng.choices(words, k=rng.randint(3, 12))) for _ in range(150)]
    texts += [text + rng.choice([".", " hd", " 2", " photo"]) for text in texts]
    texts = list(dict.fromkeys([*texts, "", "a", "hund", "ü" * 9]))
    true = {(i, j) for j in range(len(texts)) for i in range(j) if jaccard(texts[i], texts[j]) >= similarity}
    found = as_list(similar_pairs(texts, similarity))
    assert len(found) == len(set(found))
    assert set(found) <= true
    assert len(found) >= 0.97 * len(true)
    assert len(true) > 50


def test_plain_texts() -> None:
    assert plain("  A\u00a0Red  \ufb01sh\n") == "a red fish"
    assert jaccard("abcdef", "abcdeg") == 1 / 3
    assert jaccard("ab", "ab") == 1


def test_texts_of_many_images(
    make_run: MakeRun,
) -> None:
    says = ["Stock photo of a dog, royalty free no. 1", "a bird", "stock photo of a dog,  royalty free no. 2", "A bird"]
    rows = [Pair(f"http://a/{n}", picture(n), (text,), (0.9, 0.8)) for n, text in enumerate([*says, "a fish"])]
    run = make_run(rows).finish()
    found = find_duplicates(run.ledger.folder, radius=0, similarity=0.8)
    texts = {(row["uid"], row["candidate"]): row["text"] for row in run.table("captions")}
    table = pq.read_table(run.out / "duplicates/captions.parquet").to_pylist()
    groups: dict[int, set[str]] = {}
    for row in table:
        groups.setdefault(row["group"], set()).add(texts[row["uid"], row["candidate"]])
    assert list(groups.values()) == [{says[0], says[2]}, {says[1], says[3]}]
    heads = [texts[row["representative"], row["representative_candidate"]] for row in table]
    assert heads == [says[0], says[0], says[1], says[1]]
    assert (found.captions.spare, found.captions.exact) == (2, 1)


def test_the_same_again_does_nothing_and_the_same_bytes(run: Run) -> None:
    folder = run.ledger.folder
    assert find_duplicates(folder, radius=4, similarity=0.8).fresh
    before = tree(run.out)
    again = find_duplicates(folder, radius=4, similarity=0.8)
    assert not again.fresh
    assert tree(run.out) == before
    assert find_duplicates(folder, radius=2, similarity=0.8).fresh
    assert find_duplicates(folder, radius=4, similarity=0.8).fresh
    assert tree(run.out) == before


@pytest.mark.parametrize("radius", [0, 4, 8])
@pytest.mark.parametrize("at_once", [5, 1 << 21])
def test_every_alike_pair_of_hash_and_color_is_found_once(
    radius: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hamming, "AT_ONCE", at_once)
    rng = np.random.default_rng(radius)
    hashes = rng.choice(crowd(12, radius), 60)
    layouts = rng.choice(rng.integers(90, 110, (9, BYTES)), 60).astype(np.uint8)
    layouts[::7] = 0  # not known
    looks, first, item = distinct(hashes, layouts)
    assert (looks.hashes[item] == hashes).all()
    assert (looks.layouts[item] == layouts).all()
    assert (item[first] == np.arange(len(first))).all()
    found = [tuple(sorted(pair)) for pair in as_list(looks.near_pairs(radius))]
    assert len(found) == len(set(found))
    count = range(len(first))
    left, right = np.array([(a, b) for a in count for b in count if a < b]).T
    near = np.bitwise_count(looks.hashes[left] ^ looks.hashes[right]) <= radius
    near &= same_colors(looks.layouts[left], looks.layouts[right], looks.hashes[left] & looks.hashes[right])
    assert set(found) == {(int(a), int(b)) for a, b in zip(left[near], right[near], strict=True)}


def test_color_tells_plain_images_and_objects_apart(make_run: MakeRun) -> None:
    def mug(color: str, quality: int = 95) -> bytes:
        image = Image.radial_gradient("L").resize((200, 200)).convert("RGB")
        image.paste(color, (85, 85, 108, 108))
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality)
        return stream.getvalue()

    def plain(color: str) -> bytes:
        stream = io.BytesIO()
        Image.new("RGB", (40, 40), color).save(stream, "PNG")
        return stream.getvalue()

    colors = ("red", "green", "blue", "white", "black", "gray")
    files = [mug("red"), mug("red", 40), mug("green"), *map(plain, colors), plain("#fdfdfd")]
    run = make_run([Pair(f"http://a/{n}", file) for n, file in enumerate(files)]).finish()
    find_duplicates(run.ledger.folder, radius=4, similarity=0.8)
    urls = {image["uid"]: int(image["url"].rpartition("/")[2]) for image in run.table("images")}
    rows = pq.read_table(run.out / "duplicates/images.parquet").to_pylist()
    groups = sorted({(urls[row["representative"]], urls[row["uid"]]) for row in rows})
    assert groups == [(0, 0), (0, 1), (6, 6), (6, 9)]


Look = tuple[int, bytes]


def look(image: Image.Image) -> Look:
    small = thumbnail(image.convert("RGB"))
    return phash(small), color_layout(small)


def alike(one: Look, other: Look) -> bool:
    """As `dedup` with its radius of 4 sees it."""
    colors = same_colors(layouts_of([one[1]]), layouts_of([other[1]]), np.array([one[0] & other[0]], np.uint64))
    return (one[0] ^ other[0]).bit_count() <= 4 and bool(colors[0])


def test_products_on_a_plain_ground_are_told_apart_by_a_few_cells() -> None:
    def product(color: str, ground: str = "white", width: int = 40) -> Image.Image:
        image = Image.new("RGB", (200, 200), ground)
        image.paste(color, (80, 80, 80 + width, 120))
        return image

    black = product("black")
    assert alike(look(black), look(black.resize((70, 70))))
    assert not alike(look(black), look(product("#006e00", width=32)))
    assert not alike(look(black), look(product("#5a5a5a")))
    assert not alike(look(product("#0000aa", "#202020")), look(product("#6a0088", "#202020")))


def test_shop_images_of_the_field_are_no_duplicates(shared_data: Path) -> None:
    files = sorted((shared_data / "field" / "k18_dedup").glob("*.[jp][pn]g"))
    looks = {path.stem: look(Image.open(path)) for path in files}
    pairs = {(one, other) for one, other in combinations(looks, 2) if alike(looks[one], looks[other])}
    assert pairs == {("photo_a", "photo_b"), ("photo_a", "photo_c"), ("photo_b", "photo_c")}


def test_images_of_a_run_without_colors_are_told_by_their_hash(make_run: MakeRun) -> None:
    run = make_run([Pair("http://a/0", picture(1, 64)), Pair("http://a/1", picture(1, 200))]).finish()
    (path,) = (run.out / "images").glob("*.parquet")
    pq.write_table(pq.read_table(path).drop_columns(["color_layout", "phash_mirrored"]), path)
    assert find_duplicates(run.ledger.folder, radius=4, similarity=0.8).images.spare == 1


def test_queries_see_them(run: Run) -> None:
    empty = run_query(run.ledger.folder, "SELECT * FROM duplicates")
    assert (empty.num_rows, empty.schema.names) == (0, schema.DUPLICATE_IMAGES.names)
    find_duplicates(run.ledger.folder, radius=16, similarity=0.5)
    for view, file in (("duplicates", "images"), ("duplicate_captions", "captions")):
        count = pq.read_metadata(run.out / f"duplicates/{file}.parquet").num_rows
        assert (
            run_query(run.ledger.folder, f"SELECT count(*) n FROM {view} JOIN images USING (uid)")["n"][0].as_py()
            == count
        )


def test_the_command(run: Run) -> None:
    done = invoke("dedup", run.out, "--radius", "2")
    assert done.exit_code == 0, done.output
    assert "rows in groups" in done.output
    assert "nothing to do" in invoke("dedup", run.out, "--radius", "2").output
    assert invoke("dedup", run.out / "images").exit_code == 2


def test_a_run_without_images(make_run: MakeRun) -> None:
    run = make_run([Pair("http://a/0", b"nothing")]).finish()
    found = find_duplicates(run.ledger.folder, radius=4, similarity=0.8)
    assert (found.images.rows, found.captions.rows) == (0, 0)


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run here"):
        find_duplicates(Folder.at(tmp_path), radius=4, similarity=0.8)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match="--radius 17"):
        find_duplicates(Folder.at(tmp_path), radius=17, similarity=0.8)
    with pytest.raises(ConfigError, match="--similarity"):
        find_duplicates(Folder.at(tmp_path), radius=4, similarity=0.2)
