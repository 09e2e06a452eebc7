"""HEIC and JPEG XL: read where Pillow's plug-in for them is installed, in the decoding process too; else named."""

import io
from importlib import import_module
from importlib.util import find_spec

import pytest
from PIL import Image

from capfilt.core.config import DecodeSettings
from capfilt.pipelines.stages.decode import decode
from decoding import rows_of

HEADS = {
    "HEIF": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(60),
    "JXL": b"\xff\x0a" + bytes(60),
}
PLUGINS = {"HEIF": ("pillow_heif", "heif"), "JXL": ("pillow_jxl", "jxl")}


@pytest.mark.parametrize("format", PLUGINS)
@pytest.mark.parametrize("isolate", [True, False])
def test_a_format_of_a_plug_in_is_read_or_named(format: str, isolate: bool) -> None:
    module, extra = PLUGINS[format]
    settings = DecodeSettings(isolate=isolate)
    if find_spec(module) is None:
        (row,) = decode(rows_of(HEADS[format]), settings).to_pylist()
        assert (row["reason"], row["detail"].endswith(f"install capfilt[{extra}]")) == ("unsupported", True)
        return
    plugin, sink = import_module(module), io.BytesIO()
    if format == "HEIF":
        plugin.register_heif_opener()
    Image.new("RGB", (50, 40), "red").save(sink, format)
    good, broken = decode(rows_of(sink.getvalue(), sink.getvalue()[:60]), settings).to_pylist()
    assert (good["reason"], good["width"], good["height"], good["format"]) == (None, 50, 40, extra)
    assert broken["reason"] in ("corrupt", "truncated")
