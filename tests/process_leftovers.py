# SPDX-License-Identifier: Apache-2.0
"""Fail a test session that leaves a process behind: all its processes inherit a mark in their environment."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

#: The variable that marks a session's processes. With pytest-xdist each of its processes is a session of its own.
MARK = "QONDUIT_TEST_SESSION"
#: Seconds that a terminating process may take; generous, since only a hanging one needs it.
PATIENCE_SECONDS = float(os.environ.get("QONDUIT_TEST_LEFTOVERS_SECONDS", "30"))


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """Set up before all other fixtures of the session, and torn down after them."""
    before, value = os.environ.get(MARK), uuid.uuid4().hex
    os.environ[MARK] = value
    yield
    if before is None:
        del os.environ[MARK]
    else:
        os.environ[MARK] = before
    left = wait_for_processes(value, PATIENCE_SECONDS)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert not left, f"the tests left processes behind; they were killed: {left}"


def wait_for_processes(value: str, seconds: float) -> dict[int, str]:
    """Wait for the end of a session's processes; return the command lines of those still running, by process id."""
    deadline = time.monotonic() + seconds
    while found := processes(value):
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(next(iter(found)))
            try:
                ready, _, _ = select.select([handle], [], [], max(0.0, deadline - time.monotonic()))
            finally:
                os.close(handle)
            if not ready:
                return processes(value)
    return {}


def processes(value: str) -> dict[int, str]:
    """Return the running processes that have this mark, by process id."""
    mark = f"{MARK}={value}".encode()
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            # It ended meanwhile, or belongs to another user.
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    return {pid: line for pid, line in found.items() if "multiprocessing.resource_tracker" not in line}
