"""Real image hosts: signed URLs, large heads, encodings that are none. A browser gets the picture, and so do we."""

import gzip
import io
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import brotli
import pytest
from PIL import Image

from capfilt.pipelines.download.content_encoding import BadEncoding, decoded

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Get = Callable[..., list[dict[str, Any]]]


def picture(format: str = "JPEG") -> bytes:
    sink = io.BytesIO()
    Image.radial_gradient("L").convert("RGB").save(sink, format)
    return sink.getvalue()


JPG = picture()

SIGNED = [
    "/o/it%27s%20a%20kite.jpg?Signature=ab%2Fcd%2Bef%3D&Expires=9",
    "/t/https%3A%2F%2Fexample.org%2Fa%2Cb.jpg",
    "/p/a%40b%7Ec.jpg",
    "/x.jpg?X-Amz-Credential=AK%2F20260101%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-SignedHeaders=content-type%3Bhost",
    "/sig/(1)%28copy%29.jpg?s=a%3Ab",
    "/lower/%c3%a9t%c3%a9.jpg?sv=2024&sig=q%2bz%3d",  # Azure signs and sends lower-case escapes
    "/plus/a+b%2Bc.jpg?q=a+b&r=%20",
    "/a;v=1/b,c/d=e/~f/*g'h!$&@:.jpg?a=b?c/d;e",
    "/two//slashes/%2E%2E/x.jpg",
    "/latin/caf%E9.jpg",
    "/brackets[1]|2.jpg?size[]=3",
    "/empty.jpg?a=&b&&c==",
]


@pytest.mark.parametrize("path", SIGNED)
def test_a_url_goes_out_as_it_is_written(path: str, get: Get, small_site: Callable[..., Any]) -> None:
    site = small_site({path: (200, {}, JPG)})
    assert get(site.url + path)[0]["image"] == JPG
    assert site.asked[-1] == path


@pytest.mark.parametrize("path", SIGNED)
def test_so_does_the_url_of_a_redirect(path: str, get: Get, small_site: Callable[..., Any]) -> None:
    site = small_site({path: (200, {}, JPG), "/from": (302, {"Location": path}, b"")})
    other = small_site({"/from": (301, {"Location": site.url + path}, b"")})
    for start in (site.url, other.url):
        assert get(start + "/from")[0]["image"] == JPG
        assert site.asked[-1] == path


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("/my photo.jpg", "/my%20photo.jpg"),
        ("/über.jpg", "/%C3%BCber.jpg"),
        ('/a"b<c>d`e{f}g^h\\i.jpg', "/a%22b%3Cc%3Ed%60e%7Bf%7Dg%5Eh%5Ci.jpg"),
        ("/100%.jpg?50%&%zz=%2F", "/100%25.jpg?50%25&%25zz=%2F"),
        ("/a/./b/../c.jpg", "/a/c.jpg"),
        ("/../../c/..", "/"),
        ("/x.jpg#part%20one", "/x.jpg"),
        ("?q=1", "/?q=1"),
        ("", "/"),
    ],
)
def test_only_what_no_url_may_hold_is_escaped(
    written: str, sent: str, get: Get, small_site: Callable[..., Any]
) -> None:
    site = small_site({sent: (200, {}, JPG)})
    assert get(f" {site.url}{written} ")[0]["image"] == JPG
    assert site.asked[-1] == sent


@pytest.mark.parametrize(
    ("location", "sent"),
    [
        ("/caf\xc3\xa9.jpg", "/caf%C3%A9.jpg"),  # bytes of UTF-8
        ("/caf\xe9.jpg", "/caf%E9.jpg"),  # of Latin-1
        ("/my photo.jpg", "/my%20photo.jpg"),
        ("other.jpg?s=%2F", "/a/other.jpg?s=%2F"),
        ("../up%20there.jpg", "/up%20there.jpg"),
        ("?again=%27", "/a/from?again=%27"),
    ],
)
def test_a_location_in_any_spelling(location: str, sent: str, get: Get, small_site: Callable[..., Any]) -> None:
    site = small_site({sent: (200, {}, JPG), "/a/from": (302, {"Location": location}, b"")})
    assert get(site.url + "/a/from")[0]["image"] == JPG


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1\\@example.org/x.jpg",
        "http://example.org\\x.jpg",
        "http:\\\\example.org\\x.jpg",
        "http%3A%2F%2Fexample.org%2Fx.jpg",
        "<http://example.org/x.jpg>",
        "http:/example.org/x.jpg",
        "//example.org/x.jpg",
        "example.org/x.jpg",
        "s3://bucket/x.jpg",
    ],
)
def test_what_is_no_url_is_said_to_be_none(url: str, get: Get) -> None:
    [row] = get(url)
    assert (row["reason"], row["image"]) == ("bad_url", None)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Security-Policy": "img-src https://a.example.org; " * 330},
        {"Link": "<https://a.example.org/>; rel=preload, " * 1200},  # 45 kB
        {f"Set-Cookie-{n}": "x" * 60 for n in range(140)},
        {f"X-Cache-{n}": "HIT" for n in range(300)},
    ],
    ids=["10 kB", "45 kB", "140 headers", "300 headers"],
)
def test_heads_as_large_as_browsers_take(headers: dict[str, str], get: Get, small_site: Callable[..., Any]) -> None:
    site = small_site({"/x.jpg": (200, headers, JPG)})
    assert get(site.url + "/x.jpg")[0]["image"] == JPG


@pytest.mark.parametrize(("name", "said"), [("huge-header", "too long"), ("endless-header", "too many headers"),
                                            ("garbage", "not HTTP")])  # fmt: skip
def test_what_is_beyond_says_so(name: str, said: str, raw: str, get: Get) -> None:
    assert said in get(f"{raw}/{name}")[0]["detail"]


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


ENCODED: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("X-GZIP", lambda data: gzip.compress(data[:99]) + gzip.compress(data[99:]) + bytes(8)),
    ("br", brotli.compress),
    ("zstd", zstd.compress),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("gzip, br", lambda data: brotli.compress(gzip.compress(data))),
]


@pytest.mark.parametrize(("name", "encode"), ENCODED)
def test_encodings_are_undone_within_the_byte_cap(
    name: str, encode: Callable[[bytes], bytes], get: Get, small_site: Callable[..., Any]
) -> None:
    site = small_site(
        {
            "/x.jpg": (200, {"Content-Encoding": name}, encode(JPG)),
            "/bomb": (200, {"Content-Encoding": name}, encode(bytes(20_000_000))),
            "/cut": (200, {"Content-Encoding": name}, encode(JPG)[: len(encode(JPG)) // 2]),
        }
    )
    assert get(site.url + "/x.jpg", max_bytes=len(JPG))[0]["image"] == JPG
    assert get(site.url + "/x.jpg", max_bytes=len(JPG) - 1)[0]["reason"] == "too_large"
    assert get(site.url + "/bomb", max_bytes=1_000_000)[0]["reason"] == "too_large"
    [cut] = get(site.url + "/cut", retries=1)
    assert (cut["reason"], cut["image"]) == ("protocol", None)
    assert "breaks off" in cut["detail"]


@pytest.mark.parametrize(("name", "encode"), [one for one in ENCODED if one[0] != "X-GZIP"])
def test_what_is_over_the_byte_cap_is_never_made(name: str, encode: Callable[[bytes], bytes]) -> None:
    bomb = encode(bytes(30_000_000))
    tracemalloc.start()
    try:
        assert len(decoded(bomb, name, 1000)) > 1000
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize(
    "name",
    ["gzip", "br", "zstd", "deflate", "UTF-8", "binary", "none", "identity", "image/jpeg", "aws-chunked", "gzip, gzip"],
)
def test_an_encoding_that_the_body_does_not_have(
    name: str, format: str, get: Get, small_site: Callable[..., Any]
) -> None:
    data = picture(format)
    site = small_site({"/x": (200, {"Content-Encoding": name}, data)})
    assert get(site.url + "/x")[0]["image"] == data


def test_encodings_upon_encodings_and_countless_members_are_refused() -> None:
    with pytest.raises(BadEncoding, match="more than 5"):
        decoded(JPG, "gzip," * 6, 1000)
    with pytest.raises(BadEncoding, match="more than 16 parts"):
        decoded(gzip.compress(b"a") * 100_000, "gzip", 1000)
    with pytest.raises(BadEncoding, match="damaged"):
        decoded(zstd.compress(bytes(1000))[:6] + b"damage" * 9, "zstd", 1000)


def answer_raw(head: bytes, body: bytes = JPG) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(head + body)
        handler.close_connection = True

    return answer


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\nContent-Type: image/jpeg\nContent-Length: %d\n\n" % len(JPG),
        b"HTTP/1.0 200 OK\r\nContent-Type: image/jpeg\r\n\r\n",
        b"HTTP/1.1 200\r\nContent-Length: %d\r\n\r\n" % len(JPG),
        b"HTTP/1.1 206 Partial Content\r\nContent-Length: %d\r\n\r\n" % len(JPG),
        b"HTTP/1.1 200 OK\r\nX-Title: caf\xe9\r\nContent-Length: %d\r\n\r\n" % len(JPG),
        b"HTTP/1.1 200 OK\r\nX-Long: a\r\n b\r\nContent-Length: %d\r\n\r\n" % len(JPG),
        b"HTTP/1.1 200 OK\r\nX: 1\r\nX: 1\r\nContent-Type: image/jpeg\r\nContent-Type: image/jpeg\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding:\r\nContent-Length: %d\r\n\r\n" % len(JPG),
    ],
)
def test_heads_that_are_odd_but_clear(head: bytes, get: Get, small_site: Callable[..., Any]) -> None:
    site = small_site({"/x.jpg": answer_raw(head)})
    assert get(site.url + "/x.jpg")[0]["image"] == JPG
