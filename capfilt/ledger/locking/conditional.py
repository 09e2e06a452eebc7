"""Files on a bucket that are replaced only if nobody else replaced them since they were seen.

pyarrow has no conditional PUT; obstore (Rust object_store) has If-None-Match and If-Match. It is used for writing under
a lease alone, with the endpoint, region and keys that pyarrow takes from the environment too.
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
"""Names one state of a file: its ETag, or None where there is none."""

TIMEOUT: Final = timedelta(seconds=5)
"""Of one request for a small document; whoever renews a lease needs to know early that it failed."""


class Conflict(Exception):
    """The file is not in the state that was seen."""


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
        except ValueError as error:
            # pyarrow asks for the size, then for so many bytes: a document that is replaced in between by a longer one
            # comes without its end.
            raise OSError(f"{self.folder.location}/{self.name} is not whole: {error}") from error

    def write(self, content: dict[str, Any], version: Version) -> Version:
        self.folder.write(self.name, json.dumps(content).encode())
        return None

    def keeps_conditions(self) -> bool:
        return False


class S3Document:
    """A document on S3, or a store that speaks its protocol."""

    def __init__(self, folder: Folder, name: str) -> None:
        self.files, self.name = ConditionalFiles(folder, TIMEOUT), name

    def read(self) -> tuple[dict[str, Any], Version]:
        data, version = self.files.read(self.name)
        return ({} if data is None else dict(json.loads(data))), version

    def write(self, content: dict[str, Any], version: Version) -> Version:
        return self.files.write(self.name, json.dumps(content).encode(), version)

    def keeps_conditions(self) -> bool:
        content, _ = patiently(self.read)
        try:
            patiently(lambda: self.write(content, None))  # "only if there is none", and there is one
        except Conflict:
            return True
        return False


class ConditionalFiles:
    """The files of a folder on S3, written only if they are in the state that was seen.

    Args:
        timeout: of one request. No retries here: whoever writes tries again, and knows until when.
    """

    def __init__(self, folder: Folder, timeout: timedelta) -> None:
        from obstore.store import S3Store

        bucket, _, self.prefix = folder.path.partition("/")
        endpoint = _endpoint(folder.location)
        settings: S3Config = {"endpoint": endpoint} if endpoint else {}
        if os.environ.get("AWS_NO_SIGN_REQUEST", "").lower() in ("1", "yes", "true"):
            settings["skip_signature"] = True
        if folder.filesystem.region:
            settings["region"] = folder.filesystem.region
        self.store = S3Store(
            bucket,
            config=settings,
            client_options={"allow_http": endpoint.startswith("http://"), "timeout": timeout},
            # By itself obstore tries again for three minutes, and a lease would end meanwhile.
            retry_config={"max_retries": 0, "retry_timeout": timeout},
        )

    def version(self, name: str) -> Version:
        """The version of a file; None where there is none.

        Raises:
            OSError: the store does not answer.
        """
        import obstore
        from obstore.exceptions import BaseError

        try:
            return obstore.head(self.store, self._key(name))["e_tag"]
        except FileNotFoundError:
            return None
        except BaseError as error:
            raise OSError(_first_line(error)) from error

    def read(self, name: str) -> tuple[bytes | None, Version]:
        """Bytes and version of a file; (None, None) where there is none.

        Raises:
            OSError: the store does not answer.
        """
        import obstore
        from obstore.exceptions import BaseError

        try:
            found = obstore.get(self.store, self._key(name))
            return bytes(found.bytes()), found.meta["e_tag"]
        except FileNotFoundError:
            return None, None
        except BaseError as error:
            raise OSError(_first_line(error)) from error

    def write(self, name: str, data: bytes, version: Version) -> Version:
        """Replace the file of `version`, or make one where that is None; gives the new version.

        Raises:
            Conflict: it has another version by now.
            OSError: the store does not answer.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

        mode: Any = "create" if version is None else {"e_tag": version}
        try:
            return obstore.put(self.store, self._key(name), data, mode=mode, use_multipart=False)["e_tag"]
        # FileNotFoundError: the version that was seen is gone altogether.
        except (AlreadyExistsError, PreconditionError, FileNotFoundError) as error:
            raise Conflict(_first_line(error)) from error
        except BaseError as error:
            raise OSError(_first_line(error)) from error

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name


def _endpoint(location: str) -> str:
    """Where the store is: as the URL says, else as the environment does; "" for Amazon's own."""
    query = dict(parse_qsl(urlsplit(location).query))
    if host := query.get("endpoint_override", ""):
        return host if "://" in host else f"{query.get('scheme', 'https')}://{host}"
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split("\n")[0].split())[:200]
