# SPDX-License-Identifier: Apache-2.0
"""Executors are looked up by name: the built-in one, and those that other packages register."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import qonduit_client
from qonduit_server import app
from qonduit_server.errors import StartError
from qonduit_server.execution import executor
from qonduit_server.execution.executor import ExecutorOptions
from qonduit_server.execution.local.pool import ProcessPool
from qonduit_server.settings import Settings
from tests.benchmarks.programs import BELL
from tests.server_process import serving
from tests.unit.execution.pool_fixture import PATIENCE, ROOT

OPTIONS = ExecutorOptions(providers=("IBM",), workers=1)


def registered(folder: Path, **executors: str) -> Path:
    """A folder with the metadata of an installed package that registers executors."""
    metadata = folder / "engines-1.0.dist-info"
    metadata.mkdir(parents=True)
    metadata.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: engines\nVersion: 1.0\n")
    lines = "".join(f"{name} = {value}\n" for name, value in executors.items())
    metadata.joinpath("entry_points.txt").write_text(f"[qonduit.executors]\n{lines}")
    return folder


def test_the_process_pool_is_the_executor_of_the_default_setting() -> None:
    assert executor.names() == ("local", "celery")
    assert isinstance(executor.make_executor(Settings().executor, OPTIONS), ProcessPool)


def test_an_unknown_executor_keeps_the_server_from_starting_and_known_ones_are_named() -> None:
    with pytest.raises(StartError, match=r"there is no executor 'ray'; known are local, celery \(executor\)"):
        app.start(Settings(executor="ray", providers=("IBM",)))


def test_an_executor_that_cannot_be_imported_names_its_registration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(registered(tmp_path, gone="not_installed:make"))
    assert executor.names() == ("local", "celery", "gone")
    with pytest.raises(StartError, match=r"'gone', registered as not_installed:make, cannot be imported"):
        executor.make_executor("gone", OPTIONS)


def test_a_built_in_executor_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(registered(tmp_path, local="not_installed:make"))
    assert executor.names() == ("local", "celery")
    assert isinstance(executor.make_executor("local", OPTIONS), ProcessPool)


def test_a_server_runs_its_jobs_on_the_chosen_executor(tmp_path: Path) -> None:
    registered(tmp_path / "site", inline="tests.unit.execution.inline_executor:InlineExecutor")
    paths = os.pathsep.join((str(tmp_path / "site"), str(ROOT)))
    database = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    with (
        serving(database, environment={"PYTHONPATH": paths}, executor="inline", providers="IBM") as server,
        qonduit_client.Client(server.target) as client,
    ):
        job = client.run(BELL, device="IBM/aer_simulator", shots=100)
        assert set(job.result(timeout=PATIENCE).counts) <= {"0x0", "0x3"}
        # No worker process was started for it.
        assert len(server.family()) == 1
