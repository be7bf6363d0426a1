# SPDX-License-Identifier: Apache-2.0
"""The import rules of pyproject.toml allow the imports of the architecture, and report all others."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = "the layers of the server"
PROVIDERS = "a provider uses the writers of languages, and no reader"
WRITERS = "writers are below readers and do not import them"
Lint = Callable[[dict[str, str]], dict[str, str]]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy all Python packages that the rules cover."""
    tree = tmp_path_factory.mktemp("tree")
    for package in ("server/qonduit_server", "clients/python/qonduit_client"):
        shutil.copytree(ROOT / package, tree / Path(package).name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    return tree


@pytest.fixture
def lint(tree: Path) -> Lint:
    def run(imports: dict[str, str]) -> dict[str, str]:
        """Add an import to each of these modules; return "KEPT" or "BROKEN" for each rule."""
        originals = {
            tree / "qonduit_server" / module: (tree / "qonduit_server" / module).read_text() for module in imports
        }
        try:
            for module, imported in imports.items():
                path = tree / "qonduit_server" / module
                path.write_text(f"{originals[path]}\nimport qonduit_server.{imported}\n")
            done = subprocess.run(
                [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
                cwd=tree,
                env=os.environ | {"PYTHONPATH": str(tree), "COLUMNS": "200"},
                capture_output=True,
                text=True,
                timeout=100,
                check=False,
            )
        finally:
            for path, text in originals.items():
                path.write_text(text)
        found = dict(re.findall(r"^(.+) (KEPT|BROKEN)\b", done.stdout, re.MULTILINE))
        assert {LAYERS, PROVIDERS, WRITERS} <= found.keys(), done.stdout + done.stderr
        return found

    return run


def broken(found: dict[str, str]) -> set[str]:
    return {rule for rule, state in found.items() if state == "BROKEN"}


def test_a_provider_may_use_a_writer(lint: Lint) -> None:
    assert broken(lint({"providers/offered/aws.py": "languages.writing.qasm3_writer"})) == set()


@pytest.mark.parametrize(
    ("module", "imported", "rules"),
    [
        ("providers/offered/aws.py", "languages.quil.reading", {PROVIDERS}),
        ("providers/offered/aws.py", "languages.registry", {PROVIDERS}),
        ("languages/json_text.py", "providers.steps", {LAYERS}),
        ("languages/writing/qasm3_writer.py", "providers.steps", {LAYERS}),
        ("languages/writing/qasm3_writer.py", "languages.source_text", {WRITERS}),
        ("ir/formula.py", "languages.writing.write_result", {LAYERS}),
    ],
)
def test_imports_against_the_rules_are_reported(lint: Lint, module: str, imported: str, rules: set[str]) -> None:
    assert rules <= broken(lint({module: imported}))
