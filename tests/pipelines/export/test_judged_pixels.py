"""Whoever reads an export sees the pixels that captioner and judges saw, with any reader, of any format of picture."""

import functools
import gc
import io
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, features

from capfilt.core.config import DecodeSettings
from capfilt.pipelines.export.export import FORMATS, export
from capfilt.pipelines.imaging.image_file import load_image, read_header
from capfilt.pipelines.imaging.pillow import pillow_rules
from staged_run import Pair, Run

pytestmark = pytest.mark.slow

Pixels = NDArray[np.uint8]

BIG = DecodeSettings(max_pixels=10_000_000)
JPEG_ERROR = 4
"""Two decoders of one JPEG may differ by so much, and a JPEG of quality 100 from its picture."""


def judged(data: bytes) -> Pixels:
    """The picture that captioner and judges see, at full size."""
    with pillow_rules(BIG.max_pixels):
        return np.asarray(load_image(read_header(data, BIG), data, BIG, 10_000).image)


def scene(size: tuple[int, int] = (48, 32)) -> Image.Image:
    """Smooth, with no two corners alike."""
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    return Image.fromarray(np.uint8(np.stack([255 * x, 255 * y, 128 * (1 - x) + 60 * y], -1)))


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    sink = io.BytesIO()
    image.save(sink, format, **options)
    return sink.getvalue()


def turned(format: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(scene(), format, exif=exif, **({"quality": 95} if format != "PNG" else {}))


def late_exif() -> bytes:
    """A PNG whose orientation stands behind its pixels, where a header does not show it."""
    png, exif = saved(scene(), "PNG"), Image.Exif()
    exif[0x0112] = 8
    body = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    return png[:-12] + struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)) + png[-12:]


def deep_rgb() -> bytes:
    """A PNG of 16 bits a channel, which Pillow cannot write."""
    wide = np.asarray(scene()).astype(">u2") * 257

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + row.tobytes() for row in wide)
    header = struct.pack(">IIBBBBB", 48, 32, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def clear() -> Image.Image:
    picture = scene().convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    return picture


def cursor() -> bytes:
    """An icon with the type of a cursor."""
    icon = saved(clear(), "ICO", sizes=[(48, 32)], bitmap_format="bmp")
    return icon[:2] + b"\2" + icon[3:10] + bytes(4) + icon[14:]


def icon() -> bytes:
    """An ICNS of one size; Pillow writes ten."""
    png = saved(clear().resize((128, 128)), "PNG")
    return b"icns" + struct.pack(">I", len(png) + 16) + b"ic07" + struct.pack(">I", len(png) + 8) + png


def lab() -> Image.Image:
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    made = ImageCms.applyTransform(scene(), to_lab)
    assert made is not None
    return made


def pictures() -> dict[str, bytes]:
    """Files by what is odd about them."""
    deep = Image.fromarray(np.asarray(scene().convert("L")).astype(np.uint16) * 16)
    frames = [scene(), scene().transpose(Image.Transpose.ROTATE_180)]
    keyed = scene().convert("P")
    keyed.info["transparency"] = keyed.getpixel((5, 5))
    found = {
        "jpeg": saved(scene(), "JPEG", quality=95, subsampling=0),
        "jpeg gray": saved(scene().convert("L"), "JPEG"),
        "jpeg cmyk": saved(scene().convert("CMYK"), "JPEG", quality=95),
        "jpeg progressive": saved(scene(), "JPEG", progressive=True, quality=95),
        "mpo": saved(scene(), "MPO", quality=95, save_all=True, append_images=frames[1:]),
        "png": saved(scene(), "PNG"),
        "png gray": saved(scene().convert("L"), "PNG"),
        "png of two colors": saved(scene().convert("1"), "PNG"),
        "png palette": saved(scene().convert("P"), "PNG"),
        "png palette with a clear color": saved(keyed, "PNG"),
        "png with a clear color": saved(scene(), "PNG", transparency=(0, 0, 128)),
        "png alpha": saved(clear(), "PNG"),
        "png gray alpha": saved(clear().convert("LA"), "PNG"),
        "png 16 bit gray": saved(deep, "PNG"),
        "png 16 bit": deep_rgb(),
        "png exif at the end": late_exif(),
        "apng": saved(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        "gif": saved(scene(), "GIF"),
        "gif of frames": saved(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "tiff": saved(scene(), "TIFF"),
        "tiff cmyk": saved(scene().convert("CMYK"), "TIFF"),
        "tiff float": saved(Image.fromarray(np.asarray(scene().convert("L"), np.float32) / 255), "TIFF"),
        "bmp": saved(scene(), "BMP"),
        "ico": saved(clear(), "ICO", sizes=[(48, 32)]),
        "ppm": saved(scene(), "PPM"),
        "tga": saved(clear(), "TGA"),
        "dds": saved(clear(), "DDS"),
        "pcx": saved(scene(), "PCX"),
        "sgi": saved(scene(), "SGI"),
        "icns": icon(),
        "cur": cursor(),
        "tiff ycbcr": saved(scene().convert("YCbCr"), "TIFF"),
        "tiff lab": saved(lab(), "TIFF"),
    }
    found |= {f"jpeg exif {turn}": turned("JPEG", turn) for turn in range(2, 9)}
    found |= {"png exif 3": turned("PNG", 3), "jpeg exif 9": turned("JPEG", 9)}
    if features.check("webp"):
        found["webp"] = saved(scene(), "WEBP", lossless=True)
        found["webp alpha"] = saved(clear(), "WEBP", lossless=True)
        found["webp of frames"] = saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
        found["webp exif 6"] = turned("WEBP", 6)
    if features.check("avif"):
        found["avif"] = saved(scene(), "AVIF", quality=95)
    if features.check("jpg_2000"):
        found["jpeg2000"] = saved(scene(), "JPEG2000")
    return found


def by_pillow(data: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def by_opencv(data: bytes) -> Pixels:
    import cv2

    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert found is not None
    return np.ascontiguousarray(found[..., ::-1])


def by_torchvision(data: bytes) -> Pixels:
    import torch
    import torchvision.io

    raw = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    found = torchvision.io.decode_image(raw, torchvision.io.ImageReadMode.RGB)
    assert found.dtype == torch.uint8
    return found.permute(1, 2, 0).numpy()


READERS: list[Callable[[bytes], Pixels]] = [by_pillow, by_opencv, by_torchvision]


@pytest.fixture(scope="module", name="shown")
def shown_fixture() -> dict[str, bytes]:
    return pictures()


@pytest.fixture(scope="module", params=["mixed", "mostly jpeg"])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shown: dict[str, bytes]) -> Run:
    """A run over all of them, its judges scored; with enough JPEGs beside them in the second one."""
    files = list(shown.values())
    if request.param == "mostly jpeg":
        files += [saved(scene((40 + n, 30)), "JPEG", quality=95) for n in range(4 * len(files))]
    rows = [Pair(f"http://a/{n}" if n > 20 else "", data, (f"text {n}",)) for n, data in enumerate(files)]
    return Run.over(rows, tmp_path_factory.mktemp("shown")).finish()


@pytest.fixture(scope="module")
def pixels(finished: Run) -> dict[str, Pixels]:
    """What captioner and judges see, by uid."""
    return {uid: judged(data) for uid, data in originals(finished).items()}


@pytest.fixture(scope="module")
def exported(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`exported("hf")`: the folder of this export, which all its readers share."""

    @functools.cache
    def make(kind: str) -> Path:
        folder = tmp_path_factory.mktemp("exported") / "set"
        export(finished.ledger.folder, str(folder), kind, FORMATS[kind](), shard_rows=20)
        return folder

    return make


def originals(run: Run) -> dict[str, bytes]:
    files = sorted((run.out / "images").glob("*.parquet"))
    return {row["uid"]: row["image"]["bytes"] for file in files for row in pq.read_table(file).to_pylist()}


def stored(kind: str, folder: Path) -> Iterator[tuple[str, bytes]]:
    """uid and bytes of the pictures of an export."""
    import tarfile

    if kind == "parquet":
        for file in folder.glob("data/*.parquet"):
            for row in pq.read_table(file).to_pylist():
                yield row["uid"], row["image"]["bytes"]
    elif kind in ("webdataset", "open_clip"):
        for shard in folder.glob("data/*.tar"):
            with tarfile.open(shard) as tar:
                for member in tar:
                    if member.name.endswith((".jpg", ".png")):
                        yield member.name.partition(".")[0], tar.extractfile(member).read()  # type: ignore[union-attr]
    else:
        for path in folder.glob("data/*/*" if kind == "hf" else "images/*/*"):
            if path.suffix != ".parquet":
                yield path.stem, path.read_bytes()


def differs(a: Pixels, b: Pixels) -> int:
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.filterwarnings("ignore:The image decoding and encoding capabilities of TorchVision:DeprecationWarning")
@pytest.mark.parametrize("kind", ["corpus", *FORMATS])
def test_every_reader_sees_what_the_judges_saw(
    kind: str, finished: Run, exported: Callable[[str], Path], pixels: dict[str, Pixels]
) -> None:
    if kind == "corpus":
        files = sorted((finished.out / "corpus").glob("*.parquet"))
        found = {row["uid"]: row["image"]["bytes"] for file in files for row in pq.read_table(file).to_pylist()}
    else:
        found = dict(stored(kind, exported(kind)))
    assert found.keys() == pixels.keys()
    for uid, data in found.items():
        exact = not data.startswith(b"\xff\xd8")
        for read in READERS:
            error = differs(read(data), pixels[uid])
            assert error == 0 if exact else error <= JPEG_ERROR, (read.__name__, data[:12], error)


@pytest.mark.filterwarnings("ignore")  # webdataset leaves its files to be collected
@pytest.mark.parametrize("kind", ["webdataset", "open_clip"])
def test_the_readers_of_shards_see_it_too(
    kind: str, exported: Callable[[str], Path], pixels: dict[str, Pixels]
) -> None:
    import webdataset

    shards = sorted(map(str, (exported(kind) / "data").glob("*.tar")))
    # The pipe of open_clip_train.data.get_wds_dataset: decode("pilrgb"), rename(image="jpg;png;jpeg;webp", text="txt")
    samples = list(
        webdataset.WebDataset(shards, shardshuffle=False).decode("pilrgb").rename(image="jpg;png;jpeg;webp", text="txt")
    )
    gc.collect()
    assert len(samples) == len(pixels)
    for sample in samples:
        assert differs(np.asarray(sample["image"]), pixels[sample["__key__"]]) <= JPEG_ERROR


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    datasets.disable_progress_bars()


@pytest.mark.filterwarnings("ignore")  # datasets leaves the files of further frames to be collected
@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("kind", FORMATS)
def test_load_dataset_opens_the_folder(
    kind: str, finished: Run, exported: Callable[[str], Path], pixels: dict[str, Pixels]
) -> None:
    """Formats are mixed, and the first URLs are null."""
    import datasets

    found = datasets.load_dataset(str(exported(kind)), split="train")
    assert found.num_rows == len(pixels)
    if kind == "llava":
        assert set(found["id"]) == pixels.keys()
        return
    urls = {row["uid"]: row["url"] for row in finished.table("images")}
    for row in found:
        uid = row["__key__"] if "__key__" in row else row["uid"]
        image = next(row[name] for name in ("image", "jpg", "png") if name in row)
        assert differs(np.asarray(image.convert("RGB")), pixels[uid]) <= JPEG_ERROR
        facts = row.get("json", row)
        assert (facts["url"] or None) == (urls[uid] or None)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("kind", ["webdataset", "open_clip"])
def test_so_does_the_webdataset_builder(kind: str, exported: Callable[[str], Path], pixels: dict[str, Pixels]) -> None:
    import datasets

    shards = sorted(map(str, (exported(kind) / "data").glob("*.tar")))
    found = datasets.load_dataset("webdataset", data_files=shards, split="train")
    assert found.num_rows == len(pixels)
    assert {"itm", "itc"} == json.loads(found[0]["json"]["captions"][0]["scores"]).keys()


def test_the_original_bytes_stay_in_images(finished: Run, shown: dict[str, bytes]) -> None:
    assert set(shown.values()) <= set(originals(finished).values())


def test_plain_files_are_carried_as_they_are(finished: Run, shown: dict[str, bytes]) -> None:
    files = sorted((finished.out / "corpus").glob("*.parquet"))
    carried = {row["image"]["bytes"] for file in files for row in pq.read_table(file).to_pylist()}
    plain = {"jpeg", "jpeg gray", "jpeg progressive", "mpo", "png", "png gray", "png of two colors", "png palette",
             "jpeg exif 9", "webp"}  # fmt: skip
    assert {name for name, data in shown.items() if data in carried} == plain & shown.keys()
