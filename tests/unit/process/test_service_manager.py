# SPDX-License-Identifier: Apache-2.0
"""Reports to a service manager, received from a real socket."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from qonduit_server.process.service_manager import ServiceManager


@pytest.mark.parametrize("abstract", [False, True])
def test_the_states_of_a_process_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    name = f"@qonduit-{os.getpid()}" if abstract else str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("\0" + name[1:] if abstract else name)
        receiver.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        manager = ServiceManager()
        assert "NOTIFY_SOCKET" not in os.environ
        manager.ready("serving")
        assert receiver.recv(1000) == b"READY=1\nSTATUS=serving"
        manager.reloading()
        reloading, monotonic = receiver.recv(1000).decode().split("\n")
        assert reloading == "RELOADING=1"
        assert int(monotonic.removeprefix("MONOTONIC_USEC=")) > 0
        manager.stopping("draining", 1.5)
        assert receiver.recv(1000) == b"STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC=1500000"


@pytest.mark.parametrize("name", ["", "/nowhere/socket"])
def test_without_a_service_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    ServiceManager().ready("serving")


def test_a_manager_that_reads_nothing_does_not_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "socket"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "socket"))
        manager = ServiceManager()
        reports = threading.Thread(target=lambda: [manager.ready("serving") for _ in range(10_000)], daemon=True)
        reports.start()
        reports.join(60)
        assert not reports.is_alive()
