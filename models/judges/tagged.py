"""A judge whose columns carry a tag, so that several of one kind can stand side by side."""

from torch import Tensor

from capfilt.models.protocols import Judge, TruncatingJudge


class Tagged:
    """`judge` under other columns, as many as it has."""

    def __init__(self, judge: Judge, columns: tuple[str, ...]) -> None:
        self.judge = judge
        self.name = judge.name
        self.digest = judge.digest
        self.pixels = judge.pixels
        self.columns = columns

    def cuts(self, text: str) -> bool:
        """Whether the judge leaves words of a text unread."""
        return isinstance(self.judge, TruncatingJudge) and self.judge.cuts(text)

    def score(self, images: Tensor, texts: list[list[str]]) -> dict[str, list[list[float]]]:
        """The judge's scores under the tagged names."""
        scores = self.judge.score(images, texts)
        return {new: scores[old] for old, new in zip(self.judge.columns, self.columns, strict=True)}
