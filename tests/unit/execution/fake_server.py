# SPDX-License-Identifier: Apache-2.0
"""A server as far as a pool can tell: runs two tasks that do not end, names its processes, waits to be killed."""

from __future__ import annotations

import sys
import threading

from qonduit_server import logs
from tests.unit.execution.pool_fixture import pool, task

if __name__ == "__main__":
    logs.configure(log_level="error")  # what is written to standard output is read
    with pool(workers=2) as (made, listener):
        made.submit([task(number, f"hold {sys.argv[1]}") for number in (1, 2)])
        listener.wait_begun(1)
        listener.wait_begun(2)
        print(*made.processes()["TEST"], flush=True)
        threading.Event().wait()
