"""Zero-byte objects that stand for folders, as consoles of object stores make them: neither input nor obstacle."""

from pathlib import Path
from urllib.parse import urlsplit

import boto3

from capfilt.core.config import InputSettings
from capfilt.pipelines.export.export import FORMATS, export
from capfilt.pipelines.plan import make_plan
from capfilt.pipelines.stages.read import read
from pictures import picture
from staged_run import Pair, Run


def test_markers_of_folders_are_neither_input_nor_obstacle(bucket: str, s3: str, tmp_path: Path) -> None:
    client, name = boto3.client("s3", endpoint_url=s3), urlsplit(bucket).netloc
    for key in ("in/", "in/sub/", "out/", "out/images/", "out/commits/", "set/", "set/data/"):
        client.put_object(Bucket=name, Key=key, Body=b"")
    client.put_object(Bucket=name, Key="in/sub/a.jpg", Body=picture(1))
    client.put_object(Bucket=name, Key="in/sub/a.txt", Body=b"a text")
    for given in ("in", "in/", "in/*"):
        plan = make_plan([f"{bucket}/{given}"], InputSettings())
        (row,) = [row for chunk in plan.chunks for row in read(chunk).to_pylist()]
        assert (row["image"], [text["text"] for text in row["texts"]], plan.notes) == (picture(1), ["a text"], ())
    run = Run.over([Pair("http://a/0", picture(0), ("a text",))], tmp_path)
    run.out = f"{bucket}/out"  # type: ignore[assignment]
    assert run.finish().status.complete
    export(run.ledger.folder, f"{bucket}/set", "parquet", FORMATS["parquet"]())
    assert len([key for key in _keys(client, name) if key.startswith("set/data/") and not key.endswith("/")]) == 1


def _keys(client: "boto3.client", name: str) -> list[str]:
    return [found["Key"] for found in client.list_objects_v2(Bucket=name)["Contents"]]
