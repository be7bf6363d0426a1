# SPDX-License-Identifier: Apache-2.0
"""The worker machines and the broker of a server whose processes are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from qonduit_client import Client
from tests.rabbitmq import RabbitmqBroker
from tests.server_process import working

_PATIENCE = 100.0


class Engine:
    """A broker, and machines that are replaced when they die. One of them always lives, so a device is always offered.

    Args:
        broker: the broker; it is killed and started again.
        environment: the variables of the machines.
        log: the log of all machines.
        providers: the providers of each machine.
        machines: how many there are.
    """

    def __init__(
        self,
        broker: RabbitmqBroker,
        environment: Mapping[str, str],
        log: Path,
        providers: str = "IBM",
        machines: int = 2,
    ) -> None:
        self._broker = broker
        self._environment = environment
        self._log = log
        self._providers = providers
        self._life = ExitStack()
        self._machines: list[subprocess.Popen[str]] = []
        for _ in range(machines):
            self._start()

    @property
    def settings(self) -> dict[str, str]:
        """Return the settings of a server that uses it."""
        return {"executor": "celery", "broker": self._broker.url()}

    @property
    def pids(self) -> list[int]:
        """Return the processes of the machines."""
        return [machine.pid for machine in self._machines]

    def wait_offered(self, target: str, device: str) -> None:
        """Wait until a server offers a device of the machines."""
        deadline = time.monotonic() + _PATIENCE
        with Client(target) as client:
            while device not in client.named_devices("available = true"):
                assert time.monotonic() < deadline, f"{device} is not offered"
                time.sleep(0.05)

    def replace(self, pid: int) -> None:
        """Start a machine in place of a killed one."""
        (killed,) = [machine for machine in self._machines if machine.pid == pid]
        assert killed.wait(_PATIENCE) == -signal.SIGKILL
        self._machines.remove(killed)
        self._start()

    def restart_broker(self, stopped: int = 0) -> None:
        """Kill the broker, and start it again.

        Args:
            stopped: a process that stops itself now; it continues without the broker.
        """
        if stopped:
            _wait_stopped(stopped)
        self._broker.kill()
        if stopped:
            os.kill(stopped, signal.SIGCONT)
        self._broker.start()

    def close(self) -> None:
        """Stop the machines."""
        self._life.close()

    def _start(self) -> None:
        begun = working(
            self._broker.url(),
            self._providers,
            environment=self._environment,
            log=self._log,
            log_format="json",
            drain_seconds="1",
        )
        self._machines.append(self._life.enter_context(begun))


def _wait_stopped(pid: int) -> None:
    """Wait until a process has stopped: it has reported that it will."""
    deadline = time.monotonic() + _PATIENCE
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < deadline
        time.sleep(0.001)
