"""What an installation holds: the same files, whichever form of the source it is made from."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def files_of(wheel_folder: Path) -> set[str]:
    """Names in the one wheel of the folder, without those of the metadata, which hold the version."""
    (wheel,) = wheel_folder.glob("*.whl")
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def wheel_of(source: str | Path, out: Path) -> set[str]:
    """The names in the wheel that `pip install SOURCE` would install."""
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        out,
        source,
        cwd=out.parent,
    )
    return files_of(out)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working tree as the one commit of a git repository: what is about to be committed is what is tested."""
    copy = tmp_path_factory.mktemp("repository") / "capfilt"
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    for name in listed:
        source, target = ROOT / name, copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.symlink_to(os.readlink(source))
        elif source.exists():  # a file that is deleted, and not committed yet, is still listed
            target.write_bytes(source.read_bytes())
    run("git", "init", "--quiet", cwd=copy)
    run("git", "add", "--all", cwd=copy)
    name = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    run("git", *name, "commit", "--quiet", "--message", "all", cwd=copy)
    return copy


@pytest.fixture(scope="module")
def clone_without_links(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    clone = tmp_path_factory.mktemp("clone") / "capfilt"
    run("git", "clone", "--quiet", "--config", "core.symlinks=false", repository, clone)
    assert not (clone / "capfilt" / "models").is_symlink()
    return clone


@pytest.fixture(scope="module")
def expected() -> set[str]:
    """Every file of the three folders that git knows or would add, named as it is imported."""
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "capfilt", "models", "pipelines")
    files = {name for name in listed.splitlines() if (ROOT / name).is_file()}
    return {name if name.startswith("capfilt/") else f"capfilt/{name}" for name in files}


def test_a_wheel_from_a_git_url_is_whole(repository: Path, expected: set[str], tmp_path: Path) -> None:
    assert wheel_of(f"git+{repository.as_uri()}", tmp_path / "wheel") == expected
    assert {
        "capfilt/models/med/model.py",
        "capfilt/models/checkpoints/demo-captioner/model.safetensors",
        "capfilt/models/checkpoints/demo-language/model.safetensors",
        "capfilt/pipelines/recipes/blip.toml",
        "capfilt/pipelines/engine/engine.py",
        "capfilt/py.typed",
    } <= expected


def test_a_wheel_from_an_sdist_is_whole(repository: Path, expected: set[str], tmp_path: Path) -> None:
    run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", tmp_path, repository)
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        assert not [member.name for member in archive if member.issym()]
    assert wheel_of(sdist, tmp_path / "wheel") == expected


@pytest.mark.parametrize("form", ["tar.gz", "zip"])
def test_a_wheel_from_an_archive_of_the_repository_is_whole(
    form: str, repository: Path, expected: set[str], tmp_path: Path
) -> None:
    archive = tmp_path / f"capfilt-0.{form}"
    run("git", "archive", "--prefix=capfilt-0/", f"--output={archive}", "HEAD", cwd=repository)
    assert wheel_of(archive, tmp_path / "wheel") == expected


def test_a_wheel_from_a_clone_without_links_is_whole(
    clone_without_links: Path, expected: set[str], tmp_path: Path
) -> None:
    assert wheel_of(clone_without_links, tmp_path / "wheel") == expected


def test_an_editable_install_without_links_says_how_to_make_them(clone_without_links: Path, tmp_path: Path) -> None:
    command = ["install", "--no-deps", "--no-build-isolation", "--target", str(tmp_path), "--editable", "."]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *command], cwd=clone_without_links, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "capfilt/models is not a link to ../models" in done.stdout + done.stderr
    assert "ln -s ../models ../pipelines capfilt/" in done.stdout + done.stderr


def test_an_editable_install_exposes_the_package_alone(repository: Path, tmp_path: Path) -> None:
    """With the repository's root on the path, `import models` would find ours in place of the user's."""
    run(
        sys.executable,
        "-c",
        "import sys, hatchling.build as b; b.build_editable(sys.argv[1])",
        tmp_path,
        cwd=repository,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        texts = [archive.read(name).decode() for name in archive.namelist() if ".dist-info/" not in name]
    assert f"'{repository / 'capfilt' / '__init__.py'}'" in "".join(texts)
    assert not [line for text in texts for line in text.splitlines() if line.strip() == str(repository)]


def test_a_source_without_models_makes_no_wheel(repository: Path, tmp_path: Path) -> None:
    run("git", "clone", "--quiet", repository, tmp_path / "part")
    run("rm", "-r", tmp_path / "part" / "models")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    done = subprocess.run([*command, str(tmp_path / "part")], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "models/ is missing beside capfilt/" in done.stdout + done.stderr
