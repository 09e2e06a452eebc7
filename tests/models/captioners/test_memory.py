"""Weights stay in the file where they can; a full device costs a smaller batch and no caption."""

import sys
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from torch import Tensor

from capfilt.core.config import CaptionSettings as Settings
from capfilt.core.schema import ROWS, make_uid
from capfilt.models.captioners.med import MedCaptioner
from capfilt.models.formats.weights import load_med, save_med
from capfilt.models.med.model import MED
from capfilt.models.protocols import Caption, Decoding
from capfilt.models.tokenizer import Tokenizer
from capfilt.pipelines.stages.caption import caption
from capfilt.pipelines.stages.micro_batches import MicroBatches


def mapped(path: Path) -> list[range]:
    """Addresses of this process that are a file's bytes."""
    lines = [line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(str(path.resolve()))]
    spans = [line.split(" ", 1)[0].split("-") for line in lines]
    return [range(int(start, 16), int(end, 16)) for start, end in spans]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_weights_of_the_right_dtype_are_mapped_and_others_converted(
    med: MED, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    save_med(tmp_path, med, tokenizer, ("captioner",))
    model, _ = load_med(tmp_path)
    spans = mapped(tmp_path / "model.safetensors")
    assert all(any(p.data_ptr() in span for span in spans) for p in model.parameters())
    captioner, _ = load_med(tmp_path, for_captioning=True)
    spans = mapped(tmp_path / "model.safetensors")
    anew = [p for p in captioner.parameters() if not any(p.data_ptr() in span for span in spans)]
    assert all(p.is_meta for p in anew)  # there is no second copy of what is laid out anew
    assert bool(anew) == (captioner.lm_head.packed_words is not None)
    half, _ = load_med(tmp_path, torch.bfloat16)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    assert not any(p.data_ptr() in span for span in spans for p in half.parameters())
    del model, captioner, half
    assert not mapped(tmp_path / "model.safetensors")


class Cramped:
    """A captioner on a device with room for five pictures."""

    def __init__(self, captioner: MedCaptioner) -> None:
        self.captioner = captioner
        self.name, self.digest, self.pixels = captioner.name, captioner.digest, captioner.pixels
        self.asked: list[int] = []

    def caption(self, images: Tensor, seeds: list[list[int]], prompt: str, decoding: Decoding) -> list[list[Caption]]:
        self.asked.append(len(images))
        if len(images) > 5:
            raise torch.OutOfMemoryError("out of memory")
        return self.captioner.caption(images, seeds, prompt, decoding)


def test_a_full_device_halves_the_batch_and_every_caption_is_written(
    med: MED, tokenizer: Tokenizer, images: Tensor
) -> None:
    captioner = MedCaptioner("test", "0", med, tokenizer)
    rows = pa.Table.from_pylist(
        [{"uid": make_uid("x", str(n), None), "source": f"x#{n}", "texts": [], "image": b""} for n in range(16)], ROWS
    )
    pixels = pa.array([bytes(picture.numpy()) for picture in images], pa.binary(captioner.pixels.bytes))
    rows = rows.append_column(f"pixels:{captioner.pixels.name}", pixels)
    settings = Settings(n=2, max_tokens=8)
    cramped, batches = Cramped(captioner), MicroBatches(16)
    tight, roomy = caption(rows, [cramped], settings, [batches]), caption(rows, [captioner], settings)
    texts = [[[c["text"] for c in row] for row in table["candidates"].to_pylist()] for table in (tight, roomy)]
    assert texts[0] == texts[1]
    assert [len(row) for row in texts[0]] == [2] * 16
    assert tight["reason"].null_count == 16
    assert cramped.asked[0] == 16
    assert cramped.asked[-4:] == [4, 4, 4, 4]
    cramped.asked.clear()
    caption(rows, [cramped], settings, [batches])
    assert cramped.asked == [4, 4, 4, 4]  # it stays there
