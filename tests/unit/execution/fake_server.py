# SPDX-License-Identifier: Apache-2.0
"""A minimal server around a pool: run two endless tasks, print the process ids, wait to be killed."""

from __future__ import annotations

import sys
import threading

from qonduit_server import logs
from tests.unit.execution.pool_fixture import pool, task

if __name__ == "__main__":
    logs.configure(log_level="error")  # the test reads standard output
    with pool(workers=2) as (made, listener):
        made.submit([task(number, f"hold {sys.argv[1]}") for number in (1, 2)])
        listener.wait_begun(1)
        listener.wait_begun(2)
        print(*made.processes()["TEST"], flush=True)
        threading.Event().wait()
