# SPDX-License-Identifier: Apache-2.0
"""The notebooks of the documentation, executed by a real kernel against a real server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.server_process import serving_programs

NOTEBOOKS = Path(__file__).parents[2] / "docs/notebooks"


def executed(name: str, target: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Execute a notebook whose clients connect to a server; return it with its outputs."""
    monkeypatch.setenv("QONDUIT_SERVER", target)
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    NotebookClient(notebook, timeout=240, kernel_name="python3").execute()
    return notebook


def test_the_energy_of_a_vqe_falls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving_programs(tmp_path) as server:
        notebook = executed("energy-of-a-vqe.ipynb", server.target, monkeypatch)
    *_, drawing, _, last = notebook.cells
    assert any("image/png" in output.data for output in drawing.outputs)
    (output,) = last.outputs
    reached, steps, exact, children = re.findall(r"-?\d+\.?\d*", output.text)
    assert float(exact) == pytest.approx(-1.857275, abs=1e-5)
    assert float(reached) == pytest.approx(float(exact), abs=1e-3)
    assert (steps, children) == ("40", "40")


def test_notebooks_are_stored_without_outputs() -> None:
    notebooks = list(NOTEBOOKS.glob("*.ipynb"))
    assert notebooks
    for path in notebooks:
        cells = nbformat.read(path, as_version=4).cells
        assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")], path
