"""Pillow's switches belong to the process: who shares them, who waits, and that they are given back."""

import threading
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate

import pytest
from PIL import Image, ImageFile

from capfilt.pipelines.imaging.pillow import pillow_rules


def test_threads_under_one_cap_hold_them_at_the_same_time() -> None:
    both = threading.Barrier(2, timeout=20)

    def hold() -> int | None:
        with pillow_rules(1000):
            both.wait()  # passes only if the other one is inside too
            return Image.MAX_IMAGE_PIXELS

    with ThreadPoolExecutor(2) as pool:
        assert [future.result() for future in [pool.submit(hold), pool.submit(hold)]] == [500, 500]


def test_another_cap_waits_until_they_are_free() -> None:
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with pillow_rules(1000):
            inside.set()
            leave.wait(20)

    def under_another_cap() -> int | None:
        with pillow_rules(2000):
            return Image.MAX_IMAGE_PIXELS

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(hold)
        assert inside.wait(20)
        second = pool.submit(under_another_cap)
        with pytest.raises(TooLate):
            second.result(timeout=0.2)
        leave.set()
        first.result(20)
        assert second.result(20) == 1000


def test_they_are_given_back_when_the_last_one_leaves() -> None:
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    with pillow_rules(1000):
        with pillow_rules(1000):
            pass
        assert Image.MAX_IMAGE_PIXELS == 500
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
