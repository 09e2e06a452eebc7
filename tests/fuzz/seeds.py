"""Real files to break: pictures as Pillow writes them, and containers that hold them or name them."""

import csv
import gzip
import io
import json
import tarfile
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, features

ROWS: Final = 12

_KINDS: Final[tuple[tuple[str, dict[str, Any], str], ...]] = (
    ("JPEG", {}, "RGB"), ("JPEG", {"progressive": True, "quality": 40}, "RGB"), ("JPEG", {}, "L"),
    ("JPEG", {}, "CMYK"), ("JPEG", {"restart_marker_blocks": 3}, "RGB"), ("MPO", {"save_all": True}, "RGB"),
    ("PNG", {}, "RGB"), ("PNG", {}, "RGBA"), ("PNG", {}, "P"), ("PNG", {}, "1"), ("PNG", {}, "I;16"),
    ("PNG", {"save_all": True}, "RGB"), ("WEBP", {}, "RGB"), ("WEBP", {"lossless": True}, "RGBA"),
    ("WEBP", {"save_all": True}, "RGB"), ("GIF", {}, "P"), ("GIF", {"save_all": True}, "RGB"),
    ("TIFF", {}, "RGB"), ("TIFF", {"compression": "tiff_lzw"}, "RGB"), ("TIFF", {"compression": "jpeg"}, "RGB"),
    ("TIFF", {"compression": "tiff_adobe_deflate"}, "RGBA"), ("TIFF", {"compression": "packbits"}, "CMYK"),
    ("TIFF", {"compression": "group4"}, "1"), ("TIFF", {}, "F"), ("TIFF", {"save_all": True}, "L"),
    ("TIFF", {"big_tiff": True}, "RGB"), ("AVIF", {}, "RGB"), ("AVIF", {"quality": 90}, "RGBA"),
    ("BMP", {}, "RGB"), ("ICO", {}, "RGBA"), ("JPEG2000", {}, "RGB"), ("PPM", {}, "RGB"),
    ("TGA", {"compression": "tga_rle"}, "RGB"), ("PCX", {}, "P"), ("DDS", {}, "RGBA"), ("SGI", {}, "RGB"),
    ("QOI", {}, "RGB"),
)  # fmt: skip


def pictures() -> list[bytes]:
    """A file of every kind that this Pillow writes."""
    y, x = np.mgrid[0:48, 0:64]
    image = Image.fromarray(np.stack([x * 4, y * 5, (x * y) % 256], -1).astype(np.uint8))
    there = {"WEBP": features.check("webp"), "AVIF": features.check("avif"), "JPEG2000": features.check("jpg_2000")}
    return [_saved(image, *kind) for kind in _KINDS if there.get(kind[0], True)]


def _saved(image: Image.Image, format: str, options: dict[str, Any], mode: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    extra: dict[str, Any] = {"exif": exif} if format in ("JPEG", "PNG", "WEBP", "AVIF") else {}
    more = [image.rotate(90 * n).resize(image.size).convert(_plain(mode)) for n in (1, 2)]
    film = {"append_images": more} if options.get("save_all") else {}
    sink = io.BytesIO()
    _converted(image, mode).save(sink, format, **options, **extra, **film)
    return sink.getvalue()


def _converted(image: Image.Image, mode: str) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    return image.convert(_plain(mode))


def _plain(mode: str) -> str:
    return "L" if mode == "I;16" else mode


def containers(images: list[bytes]) -> dict[str, list[bytes]]:
    """Containers of `ROWS` rows by the extension of their files; several of a kind where it has variants."""
    small = images[:ROWS]
    records = [{"url": f"http://a{n}.example/{n}.jpg", "text": f'a "red" circle, {n}'} for n in range(ROWS)]
    lists = {"csv": _table(records, ","), "tsv": _table(records, "\t"), "json": json.dumps(records).encode()}
    lists |= {"jsonl": b"".join(json.dumps(record).encode() + b"\n" for record in records)}
    lists |= {"txt": b"".join(f"{record['url']}\n".encode() for record in records)}
    packed = {f"{kind}.gz": [gzip.compress(data, mtime=0)] for kind, data in lists.items()}
    shards = [_tar(small, kind) for kind in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT)]
    return {
        **{kind: [data] for kind, data in lists.items()},
        **packed,
        "tar": shards,
        "arrow": [
            _arrow(pa.table({"image": small, "text": ["a circle"] * len(small)}), kind) for kind in (None, "zstd")
        ],
        "parquet": [_parquet(small, compression) for compression in ("snappy", "zstd", "none")] + [_names(records)],
    }


def bombs(image: bytes) -> dict[str, list[bytes]]:
    """Small files that unpack to gigabytes, by the extension of their files; what is honest in them is one row."""
    big = b"x" * 8_000_000
    good = {"url": "http://a.example/1.jpg", "text": "a red circle"}
    deep, many = b"[" * 200_000, json.dumps([good] * 50_000).encode()
    return {
        "parquet": [
            _repeated(image + big, 256),  # one value of a dictionary, named by every row
            _written(pa.table({"text": _dictionary(b"x" * 3000, 1_000_000)}), compression="zstd"),
            _written(pa.table({"url": [good["url"]], "text": [[["y" * 100] * 1000] * 100]}), compression="zstd"),
        ],
        "arrow": [
            _arrow(pa.table({"image": _dictionary(image + big, 256), "text": ["a"] * 256}), None),
            _arrow(pa.table({"url": ["http://a.example/1.jpg"] * 90, "text": [("z" * 1_000_000)] * 90}), "zstd"),
        ],
        "tar": [_tar_of({"0.jpg": image, "0.txt": big * 2}), _tar_of({"0.jpg": image, "0.json": deep})],
        "json": [deep, many, b'{"images": ' + deep + b"}", b'[{"url": "' + big + b'"}]'],
        "json.gz": [gzip.compress(b"[" + b" " * 60_000_000, mtime=0), gzip.compress(deep * 300, mtime=0)],
        "jsonl.gz": [gzip.compress(json.dumps(good).encode() + b"\n" + bytes(80_000_000), mtime=0)],
    }


def _dictionary(value: bytes, rows: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([value], pa.binary()))


def _repeated(value: bytes, rows: int) -> bytes:
    return _written(pa.table({"image": _dictionary(value, rows), "text": ["a"] * rows}), compression="zstd")


def _arrow(table: pa.Table, compression: str | None) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _tar_of(members: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return sink.getvalue()


def _table(records: list[dict[str, str]], delimiter: str) -> bytes:
    sink = io.StringIO()
    writer = csv.DictWriter(sink, ["url", "text"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(records)
    return sink.getvalue().encode()


def _tar(images: list[bytes], kind: int) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=kind) as archive:
        for number, image in enumerate(images):
            note = json.dumps({"url": f"http://a.example/{number}", "caption": "x"}).encode()
            members = {"jpg": image, "txt": f"a circle {number}".encode(), "json": note}
            for extension, content in members.items():
                info = tarfile.TarInfo(f"{'long/' * 30 if number == 3 else ''}{number:06d}.{extension}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return sink.getvalue()


def _parquet(images: list[bytes], compression: str) -> bytes:
    structs = [{"bytes": image, "path": f"{number}.jpg"} for number, image in enumerate(images)]
    table = pa.table({"image": structs, "text": [f"a circle {number}" for number in range(len(images))]})
    return _written(table, compression=compression, row_group_size=5)


def _names(records: list[dict[str, str]]) -> bytes:
    return _written(pa.Table.from_pylist(records), write_page_checksum=True)


def _written(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()
