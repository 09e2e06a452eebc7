"""A small JSON document on a bucket that is replaced only if nobody else replaced it since it was read.

pyarrow has no conditional PUT; obstore (Rust object_store) has If-None-Match and If-Match. It is used for this document
alone, with the endpoint, region and keys that pyarrow takes from the environment too.
"""

import json
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import parse_qsl, urlsplit

from capfilt.core.storage import Folder, patiently

if TYPE_CHECKING:
    from obstore.store import S3Config

Version = str | None
"""Names one state of the document: its ETag, or None where there is no document."""

TIMEOUT: Final = timedelta(seconds=5)
"""Of one request. No retries here: whoever renews tries again, and knows until when."""


class Conflict(Exception):
    """The document is not in the state that was read."""


class Document(Protocol):
    """One document; its content is a JSON object."""

    def read(self) -> tuple[dict[str, Any], Version]:
        """Content and version; ({}, None) if there is none.

        Raises:
            OSError, ValueError: it cannot be read now.
        """

    def write(self, content: dict[str, Any], version: Version) -> Version:
        """Replace the content of `version`; gives the new version.

        Raises:
            Conflict: it has another version by now.
            OSError: it cannot be written now.
        """

    def keeps_conditions(self) -> bool:
        """Whether the store refuses a write whose condition does not hold. To be asked by the document's owner."""


class PlainDocument:
    """A document on a store without conditional PUTs: `write` replaces whatever is there."""

    def __init__(self, folder: Folder, name: str) -> None:
        self.folder, self.name = folder, name

    def read(self) -> tuple[dict[str, Any], Version]:
        try:
            return dict(json.loads(self.folder.read(self.name))), None
        except FileNotFoundError:
            return {}, None

    def write(self, content: dict[str, Any], version: Version) -> Version:
        self.folder.write(self.name, json.dumps(content).encode())
        return None

    def keeps_conditions(self) -> bool:
        return False


class S3Document:
    """A document on S3, or a store that speaks its protocol."""

    def __init__(self, folder: Folder, name: str) -> None:
        from obstore.store import S3Store

        bucket, _, prefix = folder.path.partition("/")
        self.key = f"{prefix}/{name}" if prefix else name
        endpoint = _endpoint(folder.location)
        settings: S3Config = {"endpoint": endpoint} if endpoint else {}
        if os.environ.get("AWS_NO_SIGN_REQUEST", "").lower() in ("1", "yes", "true"):
            settings["skip_signature"] = True
        if folder.filesystem.region:
            settings["region"] = folder.filesystem.region
        self.store = S3Store(
            bucket,
            config=settings,
            client_options={"allow_http": endpoint.startswith("http://"), "timeout": TIMEOUT},
            retry_config={"max_retries": 0, "retry_timeout": TIMEOUT},
        )

    def read(self) -> tuple[dict[str, Any], Version]:
        import obstore
        from obstore.exceptions import BaseError

        try:
            found = obstore.get(self.store, self.key)
            return dict(json.loads(bytes(found.bytes()))), found.meta["e_tag"]
        except FileNotFoundError:
            return {}, None
        except BaseError as error:
            raise OSError(_first_line(error)) from error

    def write(self, content: dict[str, Any], version: Version) -> Version:
        import obstore
        from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

        data = json.dumps(content).encode()
        try:
            mode: Any = "create" if version is None else {"e_tag": version}
            return obstore.put(self.store, self.key, data, mode=mode, use_multipart=False)["e_tag"]
        except (AlreadyExistsError, PreconditionError, FileNotFoundError) as error:
            raise Conflict(_first_line(error)) from error
        except BaseError as error:
            raise OSError(_first_line(error)) from error

    def keeps_conditions(self) -> bool:
        content, _ = patiently(self.read)
        try:
            patiently(lambda: self.write(content, None))  # "only if there is none", and there is one
        except Conflict:
            return True
        return False


def _endpoint(location: str) -> str:
    """Where the store is: as the URL says, else as the environment does; "" for Amazon's own."""
    query = dict(parse_qsl(urlsplit(location).query))
    if host := query.get("endpoint_override", ""):
        return host if "://" in host else f"{query.get('scheme', 'https')}://{host}"
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split("\n")[0].split())[:200]
