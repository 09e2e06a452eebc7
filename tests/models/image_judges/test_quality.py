"""What `quality` tells, on images whose facts are known."""

import pytest
import torch

from capfilt.models.image_judges.quality import QualityJudge
from capfilt.models.runtime import Placement


def facts(image: torch.Tensor) -> dict[str, float]:
    return {name: values[0] for name, values in QualityJudge(Placement()).describe([image]).items()}


def noise(height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)


def test_a_solid_image_has_nothing() -> None:
    told = facts(torch.full((40, 60, 3), 200, dtype=torch.uint8))
    assert told == {
        "sharpness": pytest.approx(0, abs=1e-6), "entropy": 0, "contrast": pytest.approx(0, abs=1e-6),
        "border": 1, "aspect": 1.5, "near_solid": True,
    }  # fmt: skip


def test_a_border_is_told_by_its_share_of_the_area() -> None:
    image = torch.zeros((100, 100, 3), dtype=torch.uint8)
    image[20:80, 10:100] = noise(60, 90)
    told = facts(image)
    assert told["border"] == pytest.approx(1 - 0.6 * 0.9)
    assert not told["near_solid"]


def test_half_black_half_white_is_one_bit_and_all_contrast() -> None:
    image = torch.zeros((32, 32, 3), dtype=torch.uint8)
    image[:, 16:] = 255
    told = facts(image)
    assert told["entropy"] == pytest.approx(1)
    assert told["contrast"] == pytest.approx(1, abs=1e-3)


def test_a_blurred_image_is_less_sharp() -> None:
    sharp = noise(64, 64)
    blurred = torch.nn.functional.avg_pool2d(sharp.permute(2, 0, 1).float(), 5, 1, 2).permute(1, 2, 0).byte()
    assert facts(blurred)["sharpness"] < facts(sharp)["sharpness"] / 100
