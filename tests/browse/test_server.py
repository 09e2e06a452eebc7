"""The server as a process: who may ask, what it answers, and the two things it writes."""

import hashlib
import http.client
import io
import json
import shutil
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from browse_server import Browse, start
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.calibration.marks import read_labels
from capfilt.pipelines.selection.select import select, settings_for
from pictures import picture

MARK = {"uid": "x", "candidate": 0, "right": True}


@pytest.mark.parametrize(
    "path",
    [
        "",
        "static/scripts/main.js",
        "api/run",
        "api/numbers?judge=itm",
        "api/images",
        "api/marks",
        "picture/0/320",
        "nothing/here",
    ],
)
def test_nothing_is_told_without_the_key(steady: Browse, path: str) -> None:
    for key in ("", "wrong", steady.key[:-1], steady.key + "x", steady.key.swapcase(), "%00"):
        status, _, body = steady.ask(path, key=key)
        assert (status, body[:8]) == (403, b"open the")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "192.168.0.7", "", "[::1"]
)
def test_nothing_is_told_under_a_foreign_name(steady: Browse, host: str) -> None:
    status, _, body = steady.ask("api/run", headers={"Host": host})
    assert status in (400, 421)
    assert b"judges" not in body


@pytest.mark.parametrize("host", ["127.0.0.1:9", "localhost:1234", "LOCALHOST", "[::1]:80"])
def test_all_names_of_this_machine_are_answered(steady: Browse, host: str) -> None:
    """Whatever the port: it may be forwarded, as by `ssh -L`."""
    assert steady.ask("api/run", headers={"Host": host})[0] == 200


def test_only_the_loopback_address_is_bound(steady: Browse) -> None:
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", steady.port)) == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.2", steady.port)) != 0  # loopback too, but not the address that is bound


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Host": "evil.example"}, 421),
    ],
)
def test_only_our_own_page_changes_anything(steady: Browse, headers: dict[str, str], status: int) -> None:
    for path in ("api/marks", "api/selections"):
        assert steady.ask(path, "POST", MARK, headers)[0] == status
        assert steady.ask(path, "POST", MARK, key="wrong")[0] == 403


def test_a_body_has_a_bound(steady: Browse) -> None:
    assert steady.ask("api/marks", "POST", MARK | {"uid": "x" * 70_000})[0] == 413
    connection = http.client.HTTPConnection("127.0.0.1", steady.port, timeout=60)
    head = {"Content-Type": "application/json"}
    connection.request("POST", f"/{steady.key}/api/marks", iter([b"{}"]), head, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_every_answer_forbids_what_is_not_ours(steady: Browse) -> None:
    for path in ("", "static/style.css", "api/run", "picture/0/320", "nothing"):
        _, headers, _ = steady.ask(path)
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'self'")
        assert "unsafe" not in policy
        assert "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers
    assert steady.ask("api/run")[1]["cache-control"] == "no-store"


def test_the_page_loads_nothing_from_elsewhere() -> None:
    from capfilt.browse.app import STATIC

    for file in filter(Path.is_file, STATIC.rglob("*")):
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/", "")  # the name of SVG's namespace
        assert "://" not in text, file.name
        assert "innerHTML" not in text, file.name


def test_the_run_as_a_whole(steady: Browse) -> None:
    run = steady.json("api/run")
    assert (run["images"], run["judges"], run["judge"], run["threshold"]) == (108, ["itm", "itc"], "itm", 0.5)
    assert run["selection"] == {"name": "", "policy": "blip"}
    assert run["current"]
    assert {row["reason"]: row["n"] for row in run["failures"]} == {"http_404": 6, "timeout": 6}
    assert sum(row["n"] for row in run["reasons"]) == sum(run["texts"].values())
    made = Ledger.at(run["location"]).selection()["result"]
    assert (run["kept"], run["kept_images"]) == (made["kept"], made["images"])


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("api/images?page=-1", 400, "page: "),
        ("api/images?sort=random", 400, "sort: "),
        ("api/images?judge=itm;DROP", 400, "this run has: itm, itc"),
        ("api/images?t=0.5", 400, "this run has: itm, itc"),
        ("api/images?judge=itm&t=nan", 400, "t: "),
        ("api/images?judge=itm&t=inf", 400, "t: "),
        ("api/images?colour=red", 400, "colour: "),
        (f"api/images?q={'x' * 201}", 400, "q: "),
        ("api/numbers", 400, "this run has: itm, itc"),
        ("api/image?place=5000", 404, "image 5000"),
        ("picture/5000/320", 404, "image 5000"),
        ("picture/0/321", 404, "size = 321"),
    ],
)
def test_a_mistake_is_told_in_a_line(steady: Browse, path: str, status: int, words: str) -> None:
    found, _, body = steady.ask(path)
    error = json.loads(body)["error"]
    assert (found, words in error, "\n" in error) == (status, True, False)


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("api/marks", {}, "uid: "),
        ("api/marks", MARK | {"right": "yes"}, "right: "),
        ("api/marks", MARK | {"more": 1}, "more: "),
        ("api/marks", [], "body: "),
        ("api/selections", {"name": "../up", "judge": "itm", "threshold": 0.5}, "name"),
        ("api/selections", {"name": "", "judge": "itm", "threshold": 0.5}, "name"),
        ("api/selections", {"name": "a", "judge": "", "threshold": 0.5}, "this run has"),
        ("api/selections", {"name": "a", "judge": "itm", "threshold": None}, "threshold: "),
    ],
)
def test_a_wrong_order_changes_nothing(steady: Browse, path: str, body: object, words: str) -> None:
    status, _, answer = steady.ask(path, "POST", body)
    assert status == 400
    assert words in json.loads(answer)["error"]
    out = Path(steady.json("api/run")["location"])
    assert not (out / "marks").exists()
    assert not (out / "selections").exists()


def test_pictures_are_drawn_anew_and_small(steady: Browse) -> None:
    for size, longest in ((320, 320), (1280, 400)):
        status, headers, data = steady.ask(f"picture/5/{size}")
        assert (status, headers["content-type"]) == (200, "image/jpeg")
        with Image.open(io.BytesIO(data)) as drawn:
            assert (drawn.format, max(drawn.size)) == ("JPEG", longest)


def test_many_pictures_at_once_are_each_their_own(steady: Browse) -> None:
    """Place 25 of the images is another number of the rows: every tenth row failed."""
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda place: steady.ask(f"picture/{place}/320")[2], range(108)))
    for place, data in enumerate(answers):
        number = place // 9 * 10 + place % 9
        with Image.open(io.BytesIO(data)) as drawn, Image.open(io.BytesIO(picture(number, 400, height=240))) as own:
            found, wanted = np.asarray(drawn, float), np.asarray(own.resize(drawn.size), float)
        assert np.abs(found - wanted).mean() < 4  # of two different numbers: about 60


@pytest.mark.server
def test_marks_are_written_at_once_and_ctrl_c_ends_it_well(run: Ledger) -> None:
    with start(run.folder.location) as server:
        images = server.json("api/images")["images"]
        first, second = images[0]["uid"], images[1]["uid"]
        server.json("api/marks", {"uid": first, "candidate": 0, "right": True})
        server.json("api/marks", {"uid": second, "candidate": 0, "right": False})
        server.json("api/marks", {"uid": second, "candidate": 1, "right": True})
        server.json("api/marks", {"uid": first, "candidate": 0, "right": None})
        wanted = sorted([(second, 0, False), (second, 1, True)])
        assert [tuple(row.values()) for row in read_labels(run.folder).to_pylist()] == wanted
        assert {(mark["place"], mark["candidate"], mark["right"]) for mark in server.json("api/marks")} == {
            (1, 0, False),
            (1, 1, True),
        }
        assert [image["uid"] for image in server.json("api/images?mark=wrong")["images"]] == [second]
        assert server.json("api/images?mark=any")["images"][0]["texts"][0]["right"] is False
        assert server.ask("api/marks", "POST", MARK)[0] == 404
        assert server.ask("api/marks", "POST", {"uid": first, "candidate": 9, "right": True})[0] == 404
        server.process.send_signal(signal.SIGINT)
        assert (server.process.wait(), server.process.stderr.read()) == (0, "")


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for table in ("decisions", "corpus", "selections") for path in (folder / table).rglob("*.*"))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.server
def test_a_selection_is_the_one_that_select_makes(run: Ledger, tmp_path: Path) -> None:
    twin = Ledger.at(shutil.copytree(run.folder.location, tmp_path / "twin"))
    select(twin.folder, settings_for(twin, overrides=("select.threshold=0.731",)), name="strict")
    with start(run.folder.location) as server:
        at = server.json("api/numbers?judge=itm&t=0.731")
        made = server.json("api/selections", {"name": "strict", "judge": "itm", "threshold": 0.731})
        assert made["kept"] == {source: kept[0] for source, kept in at["kept"].items()}
        assert made["images"] == at["images"][0]
        now = server.json("api/run")
        assert now["selection"] == {"name": "strict", "policy": "blip"}
        assert (now["names"], now["threshold"], now["kept"]) == (["strict"], 0.731, made["kept"])
        assert server.json("api/images?state=kept")["total"] == made["images"]
    assert digests(Path(run.folder.location)) == digests(Path(twin.folder.location))


def test_a_port_that_is_taken_is_told(steady: Browse, steady_run: Ledger) -> None:
    command = [sys.executable, "-m", "capfilt", "browse", steady_run.folder.location, "--port", str(steady.port)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: --port {steady.port}: Address already in use\n"
