"""Ways to break a file, drawn from a random stream: the same number breaks it the same way on every machine."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

EDGES: Final = (
    b"\x00",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x00\x00\x00\x00",
    b"\xff\xfe",
)
"""Values at which sizes and counts go over."""  # fmt: skip

Mutation = Callable[[bytearray, Random, Sequence[bytes]], None]


def mutated(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """`data` broken in one to four ways; `others` are files to splice in."""
    broken = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        random.choice(MUTATIONS)(broken, random, others)
    return bytes(broken)


def truncate(data: bytearray, random: Random, _: Sequence[bytes]) -> None:
    del data[random.randrange(len(data) + 1) :]


def flip_bits(data: bytearray, random: Random, _: Sequence[bytes]) -> None:
    for _ in range(random.choice((1, 1, 4, 16, 64))):
        if data:
            data[_place(data, random)] ^= 1 << random.randrange(8)


def set_edges(data: bytearray, random: Random, _: Sequence[bytes]) -> None:
    for _ in range(random.choice((1, 2, 4))):
        at, value = _place(data, random), random.choice(EDGES)
        data[at : at + len(value)] = value


def splice(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    """The head of this file, the tail of another."""
    other = random.choice(others)
    data[random.randrange(len(data) + 1) :] = other[random.randrange(len(other) + 1) :]


def repeat(data: bytearray, random: Random, _: Sequence[bytes]) -> None:
    begin, end = _span(data, random)
    data[begin:begin] = data[begin:end] * random.choice((1, 2, 50))


def remove(data: bytearray, random: Random, _: Sequence[bytes]) -> None:
    begin, end = _span(data, random)
    del data[begin:end]


def blank(data: bytearray, random: Random, _: Sequence[bytes]) -> None:
    begin, end = _span(data, random)
    data[begin:end] = random.choice((b"\x00", b"\xff", b"A")) * (end - begin)


def insert(data: bytearray, random: Random, _: Sequence[bytes]) -> None:
    at = _place(data, random)
    data[at:at] = random.randbytes(random.choice((1, 3, 100, 5000)))


MUTATIONS: Final[tuple[Mutation, ...]] = (
    truncate, flip_bits, flip_bits, set_edges, set_edges, splice, repeat, remove, blank, insert
)  # fmt: skip


def _place(data: bytearray, random: Random) -> int:
    """Any byte, but half of the time one of the first 300, where the structure is."""
    end = min(len(data), 300) if random.random() < 0.5 else len(data)
    return random.randrange(end) if end else 0


def _span(data: bytearray, random: Random) -> tuple[int, int]:
    begin = _place(data, random)
    return begin, min(len(data), begin + random.choice((1, 4, 30, 300, 3000)))
