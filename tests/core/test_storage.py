"""Which URLs lead where."""

import pytest
from pyarrow import fs as pafs

from capfilt.core.errors import InputError
from capfilt.core.storage import Folder, split_url


@pytest.mark.parametrize(
    ("url", "kind", "path"),
    [
        ("gs://bucket/in", pafs.GcsFileSystem, "bucket/in"),
        ("abfs://container@account.dfs.core.windows.net/in", pafs.AzureFileSystem, "container/in"),
        ("hf://datasets/who/what", pafs.PyFileSystem, "datasets/who/what"),
    ],
)
def test_object_stores_are_known(url: str, kind: type[pafs.FileSystem], path: str) -> None:
    filesystem, found = split_url(url)
    assert isinstance(filesystem, kind)
    assert found.rstrip("/") in (path, path.removeprefix("container/"))


def test_what_pyarrow_does_not_know_fsspec_may() -> None:
    folder = Folder.at("memory://some/run")
    folder.write("commits/000000.parquet", b"one")
    assert folder.names("commits") == ["commits/000000.parquet"]
    assert folder.read("commits/000000.parquet") == b"one"


@pytest.mark.parametrize("url", ["az://container/in", "nowhere://x/y"])
def test_what_nobody_knows_is_told_in_a_line(url: str) -> None:
    with pytest.raises(InputError, match=url.partition(":")[0]) as caught:
        split_url(url)
    assert "\n" not in str(caught.value)


def test_a_public_bucket_needs_no_keys(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Folder.at(f"{bucket}/in").write("list.txt", b"hello")
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    assert Folder.at(f"{bucket}/in").read("list.txt") == b"hello"
