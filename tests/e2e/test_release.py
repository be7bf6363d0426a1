# SPDX-License-Identifier: Apache-2.0
"""A tag is a release: it names the version, and CHANGELOG.md has a section for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.package_installation import PATIENCE, ROOT, uv

UNTESTED = "versions of packages that are built from tags"
NOTES = """### Added

- What this release adds.
"""
OLDER = "## 1.2.2 - 2026-01-01\n\n- What an older one added.\n"

pytestmark = pytest.mark.timeout(2 * PATIENCE)


def git(tree: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=tests", "-c", "user.email=tests@localhost", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *identity, *arguments], cwd=tree, check=True, capture_output=True, timeout=PATIENCE)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the work tree, in a repository with one commit and no tags."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", ":!tests"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    folder = tmp_path / "tree"
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    git(folder, "init", "--quiet")
    commit(folder, "the tree")
    return folder


def commit(tree: Path, message: str, *tags: str) -> None:
    git(tree, "add", "--all")
    git(tree, "commit", "--quiet", "--no-verify", "--message", message)
    for tag in tags:
        git(tree, "tag", tag)


def version(tree: Path, out: Path) -> str:
    """Build a wheel and return the version in it."""
    uv("build", "--wheel", "--python", sys.executable, "--out-dir", out, tree, untested=UNTESTED)
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (described,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        lines = archive.read(described).decode().splitlines()
    return next(line.removeprefix("Version: ") for line in lines if line.startswith("Version: "))


def release(tree: Path, tag: str) -> subprocess.CompletedProcess[str]:
    """Run the steps of the release workflow after `make descriptor`."""
    (tree / "build").mkdir(exist_ok=True)
    (tree / "build" / "qonduit.binpb").write_bytes(b"descriptor")
    path = f"{os.environ['PATH']}{os.pathsep}{ROOT / '.venv-uv' / 'bin'}"
    environment = {**os.environ, "PATH": path, "UV_OFFLINE": "1", "UV_PYTHON": sys.executable}
    command = [tree / ".ci" / "release", tag]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_trees_without_tags_and_without_git_build_a_development_version(tree: Path, tmp_path: Path) -> None:
    assert version(tree, tmp_path / "untagged").startswith("0.1.dev1+g")
    shutil.rmtree(tree / ".git")
    assert version(tree, tmp_path / "without git") == "0.1.dev0"


def test_a_tag_is_a_release(tree: Path, tmp_path: Path) -> None:
    changelog = tree / "CHANGELOG.md"
    changelog.write_text(changelog.read_text() + f"\n## 1.2.3 - 2026-01-02\n\n{NOTES}\n{OLDER}")
    commit(tree, "describe the release", "v1.2.3")
    # An archive of the repository, as forges offer it, has its version too.
    (tmp_path / "archive").mkdir()
    git(tree, "archive", "--output", str(tmp_path / "tree.tar"), "v1.2.3")
    shutil.unpack_archive(tmp_path / "tree.tar", tmp_path / "archive")
    assert version(tmp_path / "archive", tmp_path / "out") == "1.2.3"

    done = release(tree, "v1.2.3")
    assert done.returncode == 0, done.stderr
    out = tree / "build" / "release"
    assert {path.name for path in out.iterdir() if path.name != ".gitignore"} == {
        "notes.md",
        "qonduit-1.2.3.binpb",
        "qonduit_quantum-1.2.3-py3-none-any.whl",
        "qonduit_quantum-1.2.3.tar.gz",
    }
    assert (out / "notes.md").read_text().strip() == NOTES.strip()


def test_an_invalid_release_is_refused_before_anything_is_built(tree: Path) -> None:
    changelog = tree / "CHANGELOG.md"
    changelog.write_text(changelog.read_text() + f"\n{OLDER}\n## 1.2.3\n\n")
    commit(tree, "forget what the release adds", "v1.2.3", "v2.0.0", "1.2.2", "v1.2")
    refusals = {
        "v1.2.3": "no section '## 1.2.3', or it is empty",
        "v2.0.0": "no section '## 2.0.0'",
        "1.2.2": "the tag must be v1.2.3",
        "v1.2": "the tag must be v1.2.3",
    }
    for tag, message in refusals.items():
        done = release(tree, tag)
        assert done.returncode != 0
        assert message in done.stderr
    git(tree, "tag", "v1.2.2", "HEAD~1")
    assert "not the checked-out commit" in release(tree, "v1.2.2").stderr
    git(tree, "tag", "--force", "v1.2.2")
    (tree / "README.md").write_text("changed")
    assert "the work tree has uncommitted changes" in release(tree, "v1.2.2").stderr
    git(tree, "checkout", "README.md")
    (tree / "build" / "qonduit.binpb").unlink()
    assert (
        "run make descriptor"
        in subprocess.run(
            [tree / ".ci" / "release", "v1.2.2"], capture_output=True, text=True, timeout=PATIENCE, check=False
        ).stderr
    )
