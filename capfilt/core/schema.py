"""The tables: names, types and meaning of every column, in every stage and every file.

Two kinds of schema stand here. `ROWS` is the table of one chunk while it travels through the stages: one row an input
row, from the reader to the commit, never dropped, added or reordered; stages only add columns. The others are the
tables of a finished run, one Parquet file a chunk.
"""

import hashlib
from enum import Flag, StrEnum, auto
from typing import Final

import pyarrow as pa


class Trait(Flag):
    """What follows from a reason, wherever it is asked: one declaration, read by fetch, commit and retry."""

    NONE = 0
    RETRYABLE = auto()
    """Another try later may succeed; sets `failures.retryable`, and `capfilt retry` takes it by default."""
    FINAL = auto()
    """It lies in the input, or in an owner's request: no other try can change it, and `retry --reason` refuses it."""
    SERVER_DOWN = auto()
    """It tells of the server, not of the URL: away, overloaded, asking for a pause. Counts for `fetch.give_up`."""
    ANSWERED = auto()
    """The server was reached, so a failed robots.txt is what failed the URL; else no URL there could be fetched."""
    CLIENT_ERROR = auto()
    """The server refuses this one address (4xx): of a site's own file it means that there is none (RFC 9309)."""


class Reason(StrEnum):
    """Why an input row did not become an image. The value stands in `failures.reason`.

    A new reason is one line here: its value, the stage that gives it, its meaning, its traits, and in `_LOOK_AT` what
    to look at where most rows fail so.
    """

    _value_: str
    stage: str  # read, fetch, decode, model or any; `failures.stage` says where a row failed
    meaning: str
    traits: Trait

    # read: the row itself
    BAD_ROW = "bad_row", "read", "a line that cannot be parsed", Trait.FINAL
    BAD_CONTAINER = "bad_container", "read", "a shard that breaks off or cannot be opened", Trait.FINAL
    NO_IMAGE = "no_image", "read", "neither a URL nor image bytes in the row", Trait.FINAL
    MISSING_FILE = "missing_file", "read", "the row names a file or a member that is not there", Trait.FINAL
    # fetch: the network
    BAD_URL = "bad_url", "fetch", "not an absolute http(s) URL, or one with credentials", Trait.FINAL
    FORBIDDEN_ADDRESS = "forbidden_address", "fetch", "resolves to a private or otherwise refused address"
    DNS = "dns", "fetch", "the host name cannot be resolved", Trait.RETRYABLE
    CONNECT = "connect", "fetch", "no connection to the server", Trait.RETRYABLE | Trait.SERVER_DOWN
    TLS = "tls", "fetch", "no TLS connection, or a certificate that is refused"
    TIMEOUT = (
        "timeout",
        "fetch",
        "no complete answer in time",
        Trait.RETRYABLE | Trait.SERVER_DOWN | Trait.ANSWERED,
    )
    HTTP_403 = "http_403", "fetch", "HTTP 403 (forbidden)", Trait.ANSWERED | Trait.CLIENT_ERROR
    HTTP_404 = "http_404", "fetch", "HTTP 404 (not found)", Trait.ANSWERED | Trait.CLIENT_ERROR
    HTTP_4XX = "http_4xx", "fetch", "another HTTP 4xx", Trait.ANSWERED | Trait.CLIENT_ERROR
    HTTP_429 = (
        "http_429",
        "fetch",
        "HTTP 429 (too many requests)",
        Trait.RETRYABLE | Trait.SERVER_DOWN | Trait.ANSWERED,
    )
    HTTP_5XX = "http_5xx", "fetch", "HTTP 5xx (server error)", Trait.RETRYABLE | Trait.SERVER_DOWN | Trait.ANSWERED
    PROTOCOL = (
        "protocol",
        "fetch",
        "broken HTTP, a body cut short, too many redirects",
        Trait.RETRYABLE | Trait.ANSWERED,
    )
    HOST_DOWN = "host_down", "fetch", "not requested: too many attempts in a row had failed there", Trait.RETRYABLE
    OPT_OUT = "opt_out", "fetch", "the owner opts out: robots.txt, X-Robots-Tag, noml, TDMRep"
    TOO_LARGE = "too_large", "fetch", "over the byte cap"
    CHUNK_FULL = (
        "chunk_full",
        "fetch",
        "the images of its chunk are over the byte cap together, and it is among the largest",
        Trait.RETRYABLE,
    )
    # decode: the bytes
    EMPTY = "empty", "decode", "zero bytes"
    NOT_AN_IMAGE = "not_an_image", "decode", "no known image signature (an HTML page, say)"
    UNSUPPORTED = "unsupported", "decode", "an image format, or a variant of one, that is not read"
    TRUNCATED = "truncated", "decode", "an image that breaks off"
    CORRUPT = "corrupt", "decode", "an image that cannot be decoded"
    TOO_MANY_PIXELS = "too_many_pixels", "decode", "over the pixel cap, read from the header"
    TOO_SMALL = "too_small", "decode", "under the smallest side"
    TOO_MUCH_METADATA = "too_much_metadata", "decode", "over the cap, read from the file's own structure"
    TOO_MANY_FRAMES = "too_many_frames", "decode", "over the cap of frames or pages"
    TOO_SLOW = "too_slow", "decode", "decoding did not end in time"
    CODEC_CRASH = "codec_crash", "decode", "decoding killed its process"
    EVAL_LEAK = "eval_leak", "decode", "an image of an evaluation set, or one that looks like it"
    # caption, score: the models
    POISON = "poison", "model", "a model raises on this row alone, or its process dies with it"
    # any time
    FORGOTTEN = "forgotten", "any", "`capfilt forget`: only a keyed hash is left, in place of its uid", Trait.FINAL

    def __new__(cls, value: str, stage: str = "", meaning: str = "", traits: Trait = Trait.NONE) -> "Reason":
        reason = str.__new__(cls, value)
        reason._value_ = value
        reason.stage, reason.meaning, reason.traits = stage, meaning, traits
        return reason

    def has(self, trait: Trait) -> bool:
        return trait in self.traits

    @property
    def short(self) -> str:
        """As people call it: `403` for `http_403`; most reasons have no shorter name."""
        return self.value.removeprefix("http_")

    @property
    def look_at(self) -> str:
        """What to look at where most rows fail so: settings of the recipe, or what stands outside of it."""
        return _LOOK_AT[self]


_LOOK_AT: Final = {
    Reason.BAD_ROW: "input.delimiter and input.encoding",
    Reason.BAD_CONTAINER: "the input files",
    Reason.NO_IMAGE: "input.url",
    Reason.MISSING_FILE: "input.url",
    Reason.BAD_URL: "input.url",
    Reason.FORBIDDEN_ADDRESS: "fetch.allow_private and fetch.ports",
    Reason.DNS: "the network of this machine",
    Reason.CONNECT: "the network of this machine",
    Reason.TLS: "the network and the certificates of this machine",
    Reason.TIMEOUT: "fetch.timeout and fetch.concurrency",
    Reason.HTTP_403: "fetch.user_agent and fetch.per_host_rate",
    Reason.HTTP_404: "input.url",
    Reason.HTTP_4XX: "input.url and fetch.user_agent",
    Reason.CHUNK_FULL: "fetch.chunk_bytes and input.chunk_rows",
    Reason.HTTP_429: "fetch.per_host_rate and fetch.per_host",
    Reason.HTTP_5XX: "fetch.per_host_rate and fetch.per_host",
    Reason.PROTOCOL: "the network of this machine",
    Reason.HOST_DOWN: "the network of this machine and fetch.give_up",
    Reason.OPT_OUT: "fetch.opt_out",
    Reason.TOO_LARGE: "fetch.max_bytes",
    Reason.EMPTY: "input.url",
    Reason.NOT_AN_IMAGE: "input.url",
    Reason.UNSUPPORTED: "the input files",
    Reason.TRUNCATED: "the input files",
    Reason.CORRUPT: "the input files",
    Reason.TOO_MANY_PIXELS: "decode.max_pixels",
    Reason.TOO_SMALL: "decode.min_side",
    Reason.TOO_MUCH_METADATA: "decode.max_metadata",
    Reason.TOO_MANY_FRAMES: "decode.max_frames",
    Reason.TOO_SLOW: "decode.timeout",
    Reason.CODEC_CRASH: "the input files",
    Reason.EVAL_LEAK: "decode.exclude_eval and decode.eval_radius",
    Reason.POISON: "caption.captioner and score.judges",
    Reason.FORGOTTEN: "capfilt forget",
}


BOX: Final = pa.list_(pa.float32())
"""left, top, right, bottom, as shares of the width and height of the image after EXIF orientation."""

TEXT: Final = pa.struct([("text", pa.string()), ("source", pa.string()), ("box", BOX)])
"""A text that came with the image; source is `web` or `human`, and a null box is the whole image."""

GIVEN_TEXT: Final = pa.struct([*TEXT, ("frame", pa.list_(pa.float32()))])
"""The same as the input has it: the box is in the unit of `frame`, the image's width and height in the data's words.

[1, 1] are shares, null are pixels of the image as it is decoded. decode makes a `BOX` of every box.
"""

RAW: Final = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),  # unique within its file: a row number, a tar key, a path
        ("url", pa.string()),
        pa.field("texts", pa.list_(GIVEN_TEXT), nullable=False),
        ("image", pa.large_binary()),  # the original bytes, untouched
        ("reason", pa.string()),  # a Reason, when the row is already lost
        ("detail", pa.string()),
    ]
)
"""What a reader gives: rows in input order."""

ROWS: Final = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),  # 32 hex digits
        pa.field("source", pa.string(), nullable=False),  # identity of the file + "#" + key
        ("url", pa.string()),
        pa.field("texts", pa.list_(GIVEN_TEXT), nullable=False),
        ("image", pa.large_binary()),
        ("redirect_hosts", pa.list_(pa.string())),  # from fetch, see `IMAGES`
        ("stage", pa.string()),  # where the row failed: read, fetch, decode, ...
        ("reason", pa.string()),  # null while the row is alive
        ("detail", pa.string()),
    ]
)
"""A chunk between stages. A row is alive while `reason` is null; stages skip failed rows."""

IMAGE_FACTS: Final = pa.schema(
    [
        ("sha256", pa.string()),  # of the original bytes, hex
        ("width", pa.int32()),  # after EXIF orientation, in pixels
        ("height", pa.int32()),  # after EXIF orientation, in pixels
        ("format", pa.string()),  # Pillow's name, lower case: jpeg, png, webp, ...
        ("phash", pa.uint64()),  # 64-bit DCT perceptual hash
        ("phash_mirrored", pa.uint64()),  # of the image flipped left to right; null in runs before 0.2
        ("color_layout", pa.binary(48)),  # 4 x 4 pixels of YCbCr; null in runs before 0.2
    ]
)
"""What decode adds to `ROWS` (null in failed rows), beside one `pixels:<PixelSpec.name>` column a pixel size."""

IMAGE: Final = pa.struct([("bytes", pa.large_binary()), ("path", pa.string())])
"""The Hugging Face image struct; `path` is a file name made of uid and format."""

IMAGES: Final = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),  # stable name of the input row, 32 hex digits
        ("url", pa.string()),  # where the image came from; null for a file
        ("redirect_hosts", pa.list_(pa.string())),  # hosts that redirects led to, in order; null where none did
        pa.field("source", pa.string(), nullable=False),  # identity of the input file + "#" + key of the row
        *IMAGE_FACTS,
        ("image", IMAGE),  # the bytes as they came, or as output.pixels asks; a file name made of uid and format
    ]
)

FAILURES: Final = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),  # stable name of the input row
        ("url", pa.string()),  # as in the input
        pa.field("source", pa.string(), nullable=False),  # identity of the input file + "#" + key of the row
        ("stage", pa.string()),  # where it failed: read, fetch, decode, caption or score
        ("reason", pa.string()),  # a `Reason`
        ("detail", pa.string()),  # one line for people
        ("retryable", pa.bool_()),  # whether another try later may succeed
    ]
)

CANDIDATE: Final = (
    pa.field("candidate", pa.int32(), nullable=False),  # 0.. the texts that came along; synthetic ones from max(k, 1)
    pa.field("source", pa.string(), nullable=False),  # web, human or synthetic
    pa.field("text", pa.string(), nullable=False),  # the text itself
    pa.field("box", BOX),  # left, top, right, bottom in 0..1 of the upright image; null = all of it
    pa.field("captioner", pa.string()),  # name@digest, null for texts that came along
    pa.field("round", pa.int32(), nullable=False),  # of bootstrapping; 0 in a single run
    pa.field("seed", pa.uint64()),  # of the caption's own random stream
    pa.field("logprob", pa.float32()),  # natural log, summed over the caption's tokens
    pa.field("flags", pa.list_(pa.string()), nullable=False),  # facts about the text: empty, repetition, ...
)
"""The fixed fields of a candidate text. Every judge adds float32 columns of its own (`itm`, `itc`, `clip`, ...)."""


def candidate_type(judge_columns: tuple[str, ...]) -> pa.DataType:
    """The struct of one candidate: `CANDIDATE` + one nullable float32 a judge column."""
    return pa.struct([*CANDIDATE, *(pa.field(name, pa.float32()) for name in judge_columns)])


def captions_schema(judge_columns: tuple[str, ...]) -> pa.Schema:
    """The `captions/` table: `uid`, then the fields of a candidate."""
    return pa.schema([pa.field("uid", pa.string(), nullable=False), *candidate_type(judge_columns)])


DECISIONS: Final = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),  # of the image
        pa.field("candidate", pa.int32(), nullable=False),  # number of the text
        pa.field("keep", pa.bool_(), nullable=False),  # whether the policy keeps the text
        ("rank", pa.int32()),  # 1 = the best kept text of its image, null when dropped
        pa.field("reason", pa.string(), nullable=False),  # why kept or dropped, in the policy's words
    ]
)

RESERVED: Final = frozenset(
    {*captions_schema(()).names, *DECISIONS.names, "judge", "first", "second", "judges", "place"}
)
"""Names that no judge's column can have: those of a text, of what is decided of it, and of the scores in a policy."""

DUPLICATE_IMAGES: Final = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),  # of the image
        pa.field("group", pa.int64(), nullable=False),  # number of the group of similar images
        pa.field("distance", pa.int32(), nullable=False),  # bits of 64 in which its phash is not the representative's
        pa.field("representative", pa.string(), nullable=False),  # uid; its own, where it is the representative
        pa.field("run", pa.string(), nullable=False),  # where the representative is: another OUT, or "" for this one
    ]
)
"""The table duplicates/images.parquet: every image that looks like another, and the one that stands for its group."""

DUPLICATE_CAPTIONS: Final = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),  # of the image
        pa.field("candidate", pa.int32(), nullable=False),  # number of the text
        pa.field("group", pa.int64(), nullable=False),  # number of the group of similar texts
        pa.field("distance", pa.float32(), nullable=False),  # 1 - Jaccard similarity to the representative's text
        pa.field("representative", pa.string(), nullable=False),  # uid and candidate of the text of the group
        pa.field("representative_candidate", pa.int32(), nullable=False),  # its number
    ]
)
"""The table duplicates/captions.parquet: every text that says about what another says."""

COMMITS: Final = pa.schema(
    [
        pa.field("chunk", pa.string(), nullable=False),  # name of the chunk
        pa.field("rows", pa.int64(), nullable=False),  # rows in = images + failures
        pa.field("images", pa.int64(), nullable=False),  # rows that became an image
        pa.field("failures", pa.int64(), nullable=False),  # rows that did not
        pa.field("captions", pa.int64(), nullable=False),  # candidate texts
        pa.field("reasons", pa.map_(pa.string(), pa.int64())),  # failures by reason
        pa.field("files", pa.map_(pa.string(), pa.string())),  # file name -> sha256 of its bytes
        pa.field("sizes", pa.map_(pa.string(), pa.int64())),  # file name -> its bytes; null in runs before 0.2
        pa.field("spec", pa.string(), nullable=False),  # sha256 of the chunk's spec and the run's recipe
    ]
)


def make_uid(identity: str, key: str, url: str | None) -> str:
    """First 128 bits of sha256 over (input identity, key, url), as 32 hex digits; never a counter of the run."""
    message = "\x00".join((identity, key, url or "")).encode("utf-8", "surrogatepass")
    return hashlib.sha256(message).hexdigest()[:32]
