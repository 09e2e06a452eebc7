"""Croissant: what a data set is and where its records stand, as JSON-LD (mlcommons.org/croissant)."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any, Final

from capfilt.core.storage import Folder
from capfilt.pipelines.export.card import DatasetFacts, description
from capfilt.pipelines.export.formats import ARRAY, PARQUET, TAR

VERSION: Final = "http://mlcommons.org/croissant/1.0"

CONTEXT: Final = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{
        name: f"cr:{name}"
        for name in (
            "citeAs", "column", "equivalentProperty", "extract", "field", "fileObject", "fileProperty", "fileSet",
            "format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet",
            "references", "regex", "repeated", "replace", "separator", "source", "subField", "transform",
        )
    },
}  # fmt: skip
"""The terms, as the specification has them."""

Node = dict[str, Any]


def croissant(facts: DatasetFacts, folder: Folder) -> bytes:
    """croissant.json. Who publishes the data set adds `url` and `creator`, which is unknown before.

    Args:
        folder: where the export is; files named one by one are read for their digests.
    """
    files, fields = _PLACES.get(facts.layout.mime, _files)(facts, folder)
    about = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": VERSION,
        "name": facts.name,
        "description": description(facts),
        "license": "unknown",
        "version": "1.0.0",
        **({"datePublished": facts.date} if facts.date else {}),
    }
    records = {"@type": "cr:RecordSet", "@id": "pairs", "name": "pairs", "field": list(fields)}
    sets = [records] if records["field"] else []
    return json.dumps({**about, "distribution": list(files), "recordSet": sets}, indent=1).encode() + b"\n"


def _columns(facts: DatasetFacts, folder: Folder) -> tuple[Iterator[Node], Iterator[Node]]:
    """A table in several files."""
    includes = facts.layout.shard.format("*")
    source = {"fileSet": {"@id": "shards"}}
    picture = {"extract": {"column": "image"}, "transform": {"jsonPath": "bytes"}}

    def fields() -> Iterator[Node]:
        for name, kind in _COLUMNS.items():
            yield _field(name, kind, {**source, "extract": {"column": name}})
        if facts.layout.image_column:
            yield _field("image", "sc:ImageObject", {**source, **picture})

    return iter([_file_set("shards", includes, facts.layout.mime)]), fields()


def _members(facts: DatasetFacts, folder: Folder) -> tuple[Iterator[Node], Iterator[Node]]:
    """Archives whose members have the uid for a name."""
    names = [facts.layout.shard.format(name) for name in facts.shards]

    def files() -> Iterator[Node]:
        yield from (_file(name, facts.layout.mime, folder) for name in names)
        inside = {"containedIn": [{"@id": name} for name in names]}
        yield _file_set("texts", "*.txt", "text/plain") | inside

    source = {"fileSet": {"@id": "texts"}}
    uid = {"extract": {"fileProperty": "filename"}, "transform": {"regex": r"(.*)\.txt"}}
    text = {"extract": {"fileProperty": "content"}}
    return files(), iter([_field("uid", _TEXT, source | uid), _field("text", _TEXT, source | text)])


def _array(facts: DatasetFacts, folder: Folder) -> tuple[Iterator[Node], Iterator[Node]]:
    """LLaVA's one array of conversations."""
    # [1]: what is said first is the request, what comes second is the text.
    places = {"uid": "$[*].id", "image": "$[*].image", "text": "$[*].conversations[1].value"}
    source = {"fileObject": {"@id": "llava.json"}}
    fields = (_field(name, _TEXT, {**source, "extract": {"jsonPath": path}}) for name, path in places.items())
    return iter([_file("llava.json", facts.layout.mime, folder)]), fields


def _files(facts: DatasetFacts, folder: Folder) -> tuple[Iterator[Node], Iterator[Node]]:
    """Shards of a package's own kind: where they are can be told, what is in them cannot."""
    names = (facts.layout.shard.format(name) for name in facts.shards)
    return (_file(name, facts.layout.mime, folder) for name in names), iter(())


def _file(name: str, mime: str, folder: Folder) -> Node:
    digest = hashlib.sha256(folder.read(name)).hexdigest()
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "encodingFormat": mime,
        "sha256": digest,
    }


def _file_set(name: str, includes: str, mime: str) -> Node:
    return {"@type": "cr:FileSet", "@id": name, "name": name, "encodingFormat": mime, "includes": includes}


def _field(name: str, kind: str, source: Node) -> Node:
    return {"@type": "cr:Field", "@id": f"pairs/{name}", "name": name, "dataType": kind, "source": source}


_TEXT: Final = "sc:Text"

_COLUMNS: Final = {
    "uid": _TEXT,
    "text": _TEXT,
    "url": _TEXT,
    "sha256": _TEXT,
    "width": "sc:Integer",
    "height": "sc:Integer",
}

_PLACES: Final = {PARQUET: _columns, TAR: _members, ARRAY: _array}
