"""Captions wait in a line for free rows, and images for seats."""

from capfilt.models.decoding.seating import NOBODY, Seating


def test_a_free_row_takes_the_next_caption_and_an_image_sits_until_its_last_one_ends() -> None:
    seating = Seating(images=3, n=2, rows=3, seats=2)
    first = seating.admit()
    assert first.captions == {0: 0, 1: 1, 2: 2}
    assert first.images == {0: 0, 1: 1}
    assert seating.cells() == [0, 1, 2]
    seating.end([1])
    assert seating.admit() == ({1: 3}, {})  # of the second image, which sits already
    seating.end([2])
    assert seating.admit() == ({}, {})  # both seats are taken: caption 0 and caption 3 are unfinished
    seating.end([0])
    assert seating.admit() == ({0: 4, 2: 5}, {0: 2})
    assert seating.cells() == [0, 3, 1]
    seating.end([0, 1, 2])
    assert seating.busy() == []
    assert not seating.waiting
    assert not seating.seat


def test_rows_that_are_left_move_to_the_front() -> None:
    seating = Seating(images=2, n=2, rows=4, seats=2)
    seating.admit()
    seating.end([0, 2])
    seating.move(seating.busy())
    assert seating.caption == [1, 3]
    assert seating.cells() == [1, 3]


def test_every_caption_is_written_once_however_few_rows_and_seats() -> None:
    seating = Seating(images=7, n=3, rows=4, seats=1)
    written: list[int] = []
    seating.admit()
    while busy := seating.busy():
        ended = busy[::-1][:2]
        written += [seating.caption[row] for row in ended]
        seating.end(ended)
        assert seating.caption.count(NOBODY) >= 2
        seating.admit()
    assert sorted(written) == list(range(21))
