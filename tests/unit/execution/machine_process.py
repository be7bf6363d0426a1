# SPDX-License-Identifier: Apache-2.0
"""A worker machine in a process of its own, with fake workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

from qonduit_server.execution.executor import ExecutorOptions

#: How long a machine may take to end.
_END_SECONDS = 60.0


class RunningMachine:
    """A started machine. It connects in the background.

    Args:
        options: its options; `broker` is required.
        host: its name.
    """

    def __init__(self, options: ExecutorOptions, host: str = "there") -> None:
        sent = {
            "providers": list(options.providers),
            "workers": options.workers,
            "worker_arguments": list(options.worker_arguments),
            "memory_bytes": options.memory_bytes,
            "broker": options.broker,
            "broker_ca": options.broker_ca,
        }
        environment: Mapping[str, str] = options.environment or os.environ
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.unit.execution.machine_process", json.dumps(sent), host],
            env=dict(environment),
        )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the machine."""
        self.process.send_signal(number)

    def end(self) -> None:
        """End the machine as an operator does, and wait for it."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


def _run(sent: dict[str, Any], host: str) -> None:
    from qonduit_server.execution.celery.machine_program import MachineProgram

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    options = ExecutorOptions(
        providers=sent["providers"],
        workers=sent["workers"],
        worker_arguments=sent["worker_arguments"],
        memory_bytes=sent["memory_bytes"],
        broker=sent["broker"],
        broker_ca=sent["broker_ca"],
    )
    program = MachineProgram(options, host)
    program.start()
    stop.wait()
    program.stop(0.0, stop)


if __name__ == "__main__":
    _run(json.loads(sys.argv[1]), sys.argv[2])
