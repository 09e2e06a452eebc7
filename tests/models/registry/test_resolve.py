"""What is known of a model before it is loaded: where it is, its role, and what is wrong with it, in one line."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from capfilt.core.errors import ModelError
from capfilt.models.registry import registry
from capfilt.models.registry.catalog import CATALOG
from capfilt.models.registry.resolve import resolve

Published = Callable[[str], Path]


def copied(folder: Path, to: Path) -> Path:
    """A copy of a checkpoint that a test may spoil."""
    to.mkdir(exist_ok=True)
    for path in folder.iterdir():
        if path.is_file():
            (to / path.name).write_bytes(path.read_bytes())
    return to


def reconfigured(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


@pytest.mark.parametrize(
    ("name", "role", "words"),
    [
        ("blip-itm", "captioner", "is not a captioner; it is a filter"),
        ("blip", "filter", "is not a filter; it is a captioner"),
        ("blip2", "filter", "is not a filter; it is a captioner"),
        ("blip2-itm", "captioner", "is not a captioner; it is a filter"),
        ("llava", "filter", "is not a filter; it is a captioner"),
        ("clip", "captioner", "is not a captioner; it is a filter"),
        ("clip-transformers", "captioner", "is not a captioner; it is a filter"),
    ],
)
def test_the_wrong_role_is_named_before_anything_is_loaded(
    published: Published, name: str, role: str, words: str
) -> None:
    with pytest.raises(ModelError, match=f"{name}.*{words}"):
        registry.check(str(published(name)), role)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("blip", {"architectures": ["BlipForPreTraining"]}, "a BlipForPreTraining neither captions nor judges"),
        ("blip", {"architectures": ["BlipForQuestionAnswering"]}, "a BlipForQuestionAnswering neither captions"),
        ("clip-transformers", {"architectures": ["CLIPTextModel"]}, "a CLIPTextModel neither captions nor judges"),
        ("llava", {"architectures": ["BertForMaskedLM"]}, "a BertForMaskedLM neither captions nor judges"),
        ("llava", {"architectures": None}, "neither captions nor judges"),
    ],
)
def test_models_of_no_use_here_are_named(
    published: Published, tmp_path: Path, name: str, changes: dict[str, object], words: str
) -> None:
    folder = copied(published(name), tmp_path / name)
    reconfigured(folder, **changes)
    with pytest.raises(ModelError, match=words):
        registry.check(str(folder), "captioner")


def test_a_language_model_is_no_captioner(published: Published, tmp_path: Path) -> None:
    folder = copied(published("llava"), tmp_path / "text")
    (folder / "processor_config.json").unlink()
    reconfigured(folder, architectures=["LlamaForCausalLM"], model_type="llama")
    with pytest.raises(ModelError, match="no image processor"):
        registry.check(str(folder), "captioner")


@pytest.mark.parametrize("name", ["blip", "llava", "clip"])
def test_pickled_weights_are_refused(published: Published, tmp_path: Path, name: str) -> None:
    folder = copied(published(name), tmp_path / name)
    (weights,) = folder.glob("*.safetensors")
    weights.rename(folder / "pytorch_model.bin")
    role = "filter" if name == "clip" else "captioner"
    with pytest.raises(ModelError, match=r"only pytorch_model\.bin, and such files can run code") as caught:
        registry.check(str(folder), role)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_shards_are_weights_and_a_missing_one_is_named(published: Published, tmp_path: Path) -> None:
    folder = copied(published("llava"), tmp_path / "llava")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    weight_map = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(ModelError, match="1 of 2 files of weights are missing: model-00002-of-"):
        registry.check(str(folder), "captioner")
    (folder / "model-00002-of-00002.safetensors").touch()
    assert registry.check(str(folder), "captioner")


def test_a_digest_is_of_all_that_changes_what_a_model_says(published: Published, tmp_path: Path) -> None:
    folder = copied(published("llava"), tmp_path / "llava")
    before = registry.check(str(folder), "captioner")
    assert before == registry.check(str(published("llava")), "captioner")
    (folder / "README.md").write_text("words about it")
    assert registry.check(str(folder), "captioner") == before
    (folder / "chat_template.jinja").write_text("another")
    assert registry.check(str(folder), "captioner") != before


def test_where_a_directory_holds_both_open_clip_is_taken(published: Published, tmp_path: Path) -> None:
    folder = copied(published("clip-transformers"), tmp_path / "both")
    copied(published("clip"), folder)
    assert resolve(str(folder)).family == "open_clip"


def test_the_two_that_ship_are_whole() -> None:
    assert registry.check("demo-captioner", "captioner")
    assert registry.check("demo-filter", "filter")


def test_every_card_has_a_name_that_can_be_found() -> None:
    for card in CATALOG.values():
        assert card.ships or card.name.startswith("open_clip:") or card.name.count("/") == 1
        assert (card.role == "filter") == bool(card.columns)


@pytest.mark.parametrize("name", ["nobody", "a/b/c", "", "open_clip:ViT-B-32"])
def test_a_name_of_nothing_is_one_line(name: str) -> None:
    with pytest.raises(ModelError) as caught:
        resolve(name)
    assert repr(name) in str(caught.value)
    assert "\n" not in str(caught.value)


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's protocol as a snapshot needs."""

    folders: dict[str, Path]  # by the name of a model
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        path = self.path.removeprefix("/api/models")
        name = next((name for name in self.folders if path.startswith(f"/{name}")), "")
        files = [file for file in sorted(self.folders[name].iterdir()) if file.is_file()] if name else []
        if name and path != self.path:
            siblings = [{"rfilename": file.name} for file in files]
            sizes = [{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": "0" * 40} for f in files]
            tree = "/tree/" in self.path
            self._send(json.dumps(sizes if tree else {"id": name, "sha": "a" * 40, "siblings": siblings}).encode())
        elif name and (file := self.folders[name] / self.path.rpartition("/")[2].partition("?")[0]).is_file():
            self._send(file.read_bytes())
        else:
            self.send_error(404)

    do_HEAD = do_GET

    def _send(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{len(data):040d}"')
        self.send_header("X-Repo-Commit", "a" * 40)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def hub(folder: Path, **others: Path) -> Iterator[tuple[str, list[str]]]:
    """A hub that has acme/tiny, and others by names of one word."""
    others = {name.replace("_", "-"): other for name, other in others.items()}
    handler = type("OneHub", (Hub,), {"folders": {"acme/tiny": folder} | others, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler.asked
    finally:
        server.shutdown()
        server.server_close()


def check_in_a_process(name: str, home: Path, endpoint: str) -> str:
    """`registry.check` where the hub is another: its address is read when the library is imported."""
    return in_a_process(f"registry.check({name!r}, 'captioner')", home, endpoint)


def in_a_process(what: str, home: Path, endpoint: str) -> str:
    code = (
        "from capfilt.models.registry import registry\nfrom capfilt.core.errors import ModelError\n"
        f"try:\n    print({what})\nexcept ModelError as error:\n    print('error:', error)"
    )
    environment = {"PATH": "/usr/bin:/bin", "HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HOME": str(home)}
    environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_the_hub_is_asked_once_and_then_its_cache_is_enough(published: Published, tmp_path: Path) -> None:
    folder, home = copied(published("llava"), tmp_path / "served"), tmp_path / "home"
    (folder / "pytorch_model.bin").write_bytes(b"pickled")
    with hub(folder) as (endpoint, asked):
        assert check_in_a_process("acme/tiny", home, endpoint) == registry.check(str(published("llava")), "captioner")
        assert asked
        assert not any("pytorch_model.bin" in path for path in asked if "/resolve/" in path)
    assert check_in_a_process("acme/tiny", home, endpoint) == registry.check(str(published("llava")), "captioner")


def test_without_a_network_one_line_says_what_to_do(tmp_path: Path) -> None:
    said = check_in_a_process("acme/tiny", tmp_path, "http://127.0.0.1:9")
    assert said.startswith("error: model 'acme/tiny' is not in the local hub cache and could not be downloaded (")
    assert said.endswith("where there is a network, `hf download acme/tiny`, and name the directory")
    assert "\n" not in said


SCORED = """[float(s) for s in (lambda judge: judge.score(
    __import__("torch").full((1, judge.pixels.size, judge.pixels.size, 3), 90, dtype=__import__("torch").uint8),
    [["a red circle", "two dogs", "a dog on a mat"]])["clip"][0])(registry.load_judge("acme/tiny"))]"""


def test_a_text_tower_that_open_clip_knows_is_fetched_with_the_model(published: Published, tmp_path: Path) -> None:
    """As LAION's models with RoBERTa: their settings name it, and its own stand in another place of the hub."""
    folder, home = published("clip-text-tower"), tmp_path / "home"
    with hub(folder, roberta_base=folder / "tower") as (endpoint, asked):
        scores = in_a_process(SCORED.replace("\n", " "), home, endpoint)
        assert len(set(json.loads(scores))) == 3
        assert any("/roberta-base/resolve/" in path for path in asked)
    assert in_a_process(SCORED.replace("\n", " "), home, "http://127.0.0.1:9") == scores  # from the cache


def test_one_that_it_does_not_know_is_not(published: Published, tmp_path: Path) -> None:
    folder = copied(published("clip-text-tower"), tmp_path / "served")
    config = folder / "open_clip_config.json"
    config.write_text(config.read_text().replace('"hf_model_name": "roberta-base"', '"hf_model_name": "some-one"'))
    with hub(folder, some_one=published("clip-text-tower") / "tower") as (endpoint, asked):
        said = in_a_process("registry.load_judge('acme/tiny')", tmp_path / "home", endpoint)
        assert said.endswith("hf_model_name = 'some-one': a checkpoint may not load another")
        assert not any("some-one" in path for path in asked)


def test_a_folder_of_this_machine_names_none(published: Published) -> None:
    with pytest.raises(ModelError, match="hf_model_name = 'roberta-base': a checkpoint may not load another"):
        registry.load_judge(str(published("clip-text-tower")))
