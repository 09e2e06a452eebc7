"""The S3 server of the tests, as a process: moto, with writes of a condition done one after the other."""

import sys
import threading
from typing import Any

from moto.s3.responses import S3Response
from moto.server import main

_write = S3Response.put_object
_one_at_a_time = threading.Lock()


# moto looks whether a condition holds and writes after it, so of two at once both may win; on S3 one wins.
def _write_alone(self: S3Response) -> Any:
    with _one_at_a_time:
        return _write(self)


if __name__ == "__main__":
    S3Response.put_object = _write_alone  # type: ignore[method-assign]
    main(sys.argv[1:])
