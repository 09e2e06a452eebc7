"""`capfilt browse` as a process of its own."""

import http.client
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass
class Browse:
    """A server of `capfilt browse`."""

    process: "subprocess.Popen[str]"
    address: str

    @property
    def port(self) -> int:
        return int(self.address.split(":")[2].partition("/")[0])

    @property
    def key(self) -> str:
        return self.address.rstrip("/").rpartition("/")[2]

    def ask(
        self,
        path: str,
        method: str = "GET",
        body: object = None,
        headers: dict[str, str] | None = None,
        key: str | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the answer to one request, made as given and no better."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        key = self.key if key is None else key
        data = None if body is None else json.dumps(body).encode()
        given = {"Content-Type": "application/json"} if data else {}
        connection.request(method, f"/{key}/{path}", data, given | (headers or {}))
        answer = connection.getresponse()
        found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        connection.close()
        return found

    def json(self, path: str, body: object = None) -> Any:
        """The answer as JSON, which must not be a refusal."""
        status, _, data = self.ask(path, "GET" if body is None else "POST", body)
        assert status == 200, data
        return json.loads(data)


@contextmanager
def start(out: str, *arguments: str) -> Iterator[Browse]:
    """`capfilt browse OUT` as people start it, stopped by Ctrl-C."""
    command = [sys.executable, "-m", "capfilt", "browse", out, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            line = process.stdout.readline()
            found = re.search(r"http://\S+", line)
            assert found, line + (process.stderr.read() if process.stderr else "")
            yield Browse(process, found[0])
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)
