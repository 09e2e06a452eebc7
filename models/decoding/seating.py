"""Which caption is written in which row, and at which place its image sits: plain bookkeeping on the host.

Captions wait in a line, image by image. A row whose caption has ended takes the next one, so that no row is computed in
vain until the line is empty; an image sits, with its keys and values, from its first caption to its last.

Dimensions: R rows, S seats, n captions an image.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

NOBODY: Final = -1


class Arrivals(NamedTuple):
    """Captions that begin, by the row of each; images that sit down, by the seat of each."""

    captions: dict[int, int]
    images: dict[int, int]


class Seating:
    """R rows and S seats for the captions of some images; caption c is of image c // n."""

    def __init__(self, images: int, n: int, rows: int, seats: int) -> None:
        self.n = n
        self.seats = seats
        self.waiting = range(images * n)
        self.caption = [NOBODY] * rows  # of each row
        self.seat: dict[int, int] = {}  # of each image that sits
        self.unfinished: Counter[int] = Counter()  # captions of each image that sits

    def busy(self) -> list[int]:
        """Rows in which a caption is written."""
        return [row for row, caption in enumerate(self.caption) if caption != NOBODY]

    def end(self, rows: Iterable[int]) -> None:
        """The captions of these rows are written."""
        for row in rows:
            image = self.caption[row] // self.n
            self.caption[row] = NOBODY
            self.unfinished[image] -= 1
            if not self.unfinished[image]:
                del self.seat[image]

    def admit(self) -> Arrivals:
        """Give free rows to the captions that wait, as long as there is a seat for their image."""
        arrivals = Arrivals({}, {})
        free = iter(sorted(set(range(self.seats)) - set(self.seat.values())))
        for row in (row for row, caption in enumerate(self.caption) if caption == NOBODY):
            if not self.waiting:
                break
            caption = self.waiting[0]
            image = caption // self.n
            if image not in self.seat:
                if (seat := next(free, NOBODY)) == NOBODY:
                    break
                self.seat[image], arrivals.images[seat], self.unfinished[image] = seat, image, self.n
            self.caption[row] = arrivals.captions[row] = caption
            self.waiting = self.waiting[1:]
        return arrivals

    def move(self, rows: Sequence[int]) -> None:
        """Keep these rows alone, in this order, as the first ones."""
        self.caption = [self.caption[row] for row in rows]

    def cells(self) -> list[int]:
        """Of each row, where it stands on the query axes of all seats side by side, n places a seat; 0 if it is free.

        The place at a seat is the caption's number among those of its image, which no other row has.
        """
        return [
            0 if caption == NOBODY else self.seat[caption // self.n] * self.n + caption % self.n
            for caption in self.caption
        ]
