# SPDX-License-Identifier: Apache-2.0
"""Whether the processes for interactive tasks have the SDK of a provider."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qonduit_server.execution.local import interactive_pools
from qonduit_server.execution.local.interactive_pools import InteractivePools
from tests.unit.execution.fake_forkserver import DEVICES
from tests.unit.execution.pool_fixture import PATIENCE, PROGRAM, Gate, RecordingListener, environment, wait_gone


@contextmanager
def pools(folder: Path, devices: str) -> Iterator[InteractivePools]:
    """Yield pools whose processes read what their provider does from a file (see fake_forkserver)."""
    file = folder / "devices"
    file.write_text(devices)
    made = InteractivePools(program=PROGRAM, environment=environment(**{DEVICES: str(file)}))
    made.start(RecordingListener())
    try:
        yield made
    finally:
        processes = made.processes()
        made.stop(PATIENCE)
        wait_gone(processes)


def test_a_provider_whose_process_is_slow_has_its_sdk_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(tmp_path)
    with pools(tmp_path, f"hang {gate.path}") as made:
        monkeypatch.setattr(interactive_pools, "_DESCRIBE_SECONDS", 0.0)
        assert not made.has_sdk("TEST")
        gate.open()
        monkeypatch.setattr(interactive_pools, "_DESCRIBE_SECONDS", PATIENCE)
        assert made.has_sdk("TEST")


def test_the_processes_of_a_provider_without_sdk_end(tmp_path: Path) -> None:
    with pools(tmp_path, "missing") as made:
        assert not made.has_sdk("TEST")
        assert not made.processes()
        assert not made.has_sdk("TEST")
