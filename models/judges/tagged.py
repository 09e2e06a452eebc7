"""A judge whose columns carry a tag, so that several of one kind can stand side by side."""

from torch import Tensor

from capfilt.models.pixels import Box
from capfilt.models.protocols import Judge, RegionJudge, TruncatingJudge


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
        return self._tagged(self.judge.score(images, texts))

    def _tagged(self, scores: dict[str, list[list[float]]]) -> dict[str, list[list[float]]]:
        return {new: scores[old] for old, new in zip(self.judge.columns, self.columns, strict=True)}


class TaggedRegions(Tagged):
    """The same of a judge that looks at regions. Not every `Tagged` may have this method: it tells the two apart."""

    def score_regions(
        self, images: Tensor, texts: list[list[str]], boxes: list[list[Box | None]]
    ) -> dict[str, list[list[float]]]:
        """The judge's scores under the tagged names."""
        assert isinstance(self.judge, RegionJudge)  # as `tagged` has asked; for the type
        return self._tagged(self.judge.score_regions(images, texts, boxes))


def tagged(judge: Judge, columns: tuple[str, ...]) -> Tagged:
    """`judge` under other columns."""
    return (TaggedRegions if isinstance(judge, RegionJudge) else Tagged)(judge, columns)
