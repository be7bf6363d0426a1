# SPDX-License-Identifier: Apache-2.0
"""A real RabbitMQ for tests: one broker a session, one new virtual host a test.

Runs Debian's `rabbitmq-server` in a temporary folder, with every listener on loopback, whichever user runs the tests.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.certificate_authority import Pair
from tests.missing_components import lacking
from tests.server_process import free_port

#: How long the broker may take to start, and a command to it: a node of Erlang starts for each.
START_SECONDS = 180.0


def find_installation() -> Path | None:
    """Return the folder of the newest installation of RabbitMQ, or None."""
    found = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*"))
    return found[-1] if found else None


class RabbitmqBroker:
    """A broker that can be stopped, killed and started again.

    Args:
        installation: its folder.
        tls: the certificate and its key, for TLS.
        settings: further parameters of the application `rabbit`.
    """

    def __init__(self, installation: Path, tls: Pair | None = None, settings: Mapping[str, int] | None = None) -> None:
        self._sbin = installation / "sbin"
        self._root = Path(tempfile.mkdtemp(prefix="qrabbit"))
        self._port, self._distribution, self._mapper = free_port(), free_port(), free_port()
        self._scheme = "amqps" if tls else "amqp"
        listener = f"listeners.tcp.1 = 127.0.0.1:{self._port}\n"
        if tls:
            # The CAs are those of certificates of clients, which have none.
            listener = (
                f"listeners.tcp = none\nlisteners.ssl.1 = 127.0.0.1:{self._port}\nssl_options.verify = verify_none\n"
                f"ssl_options.cacertfile = {tls.certificate}\n"
                f"ssl_options.certfile = {tls.certificate}\nssl_options.keyfile = {tls.key}\n"
            )
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        (self._root / "rabbitmq.conf").write_text(
            f"{listener}log.console = false\nlog.file.level = warning\nloopback_users = none\n"
        )
        terms = ", ".join(f"{{{name}, {value}}}" for name, value in (settings or {}).items())
        (self._root / "advanced.config").write_text(f"[{{rabbit, [{terms}]}}].\n")
        (self._root / "enabled_plugins").write_text("[].\n")
        self._environment = os.environ | {
            "HOME": str(self._root),
            "RABBITMQ_BASE": str(self._root),
            "RABBITMQ_MNESIA_BASE": str(self._root / "data"),
            "RABBITMQ_LOG_BASE": str(self._root / "log"),
            "RABBITMQ_CONFIG_FILE": str(self._root / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self._root / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._root / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(self._root / "pid"),
            "ERL_CRASH_DUMP": str(self._root / "crash.dump"),
            "RABBITMQ_NODENAME": f"q{os.getpid()}{self._port}@localhost",
            "RABBITMQ_NODE_PORT": "",
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "ERL_EPMD_PORT": str(self._mapper),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none",
        }
        # In the foreground: the broker would start one that outlives it.
        self._names = subprocess.Popen(
            ["epmd", "-address", "127.0.0.1", "-port", str(self._mapper)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        # Without one that listens, the broker starts its own, too.
        deadline = time.monotonic() + START_SECONDS
        while not self._listens(self._mapper) and time.monotonic() < deadline:
            time.sleep(0.01)
        self.start()

    def start(self) -> None:
        """Start the broker and wait until it accepts connections."""
        with (self._root / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [str(self._sbin / "rabbitmq-server")],
                env=self._environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            # The broker opens its port when it is ready for connections; any other check starts a node of Erlang.
            if self._listens(self._port):
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"RabbitMQ did not start: {(self._root / 'output').read_text()[-2000:]}")
            time.sleep(0.05)

    def control(self, *arguments: str) -> str:
        """Run a command of `rabbitmqctl` and return its output."""
        done = subprocess.run(
            [str(self._sbin / "rabbitmqctl"), "--quiet", "--timeout", str(int(START_SECONDS)), *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"rabbitmqctl {arguments} failed: {done.stdout}{done.stderr}")
        return done.stdout

    def write_control(self, path: Path) -> None:
        """Write a program that runs `rabbitmqctl` for this broker."""
        variables = {name: value for name, value in self._environment.items() if os.environ.get(name) != value}
        exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
        path.write_text(f'#!/bin/sh\n{exports}exec {self._sbin / "rabbitmqctl"} "$@"\n')
        path.chmod(0o755)

    @property
    def address(self) -> str:
        """The address of the broker, HOST:PORT."""
        return f"127.0.0.1:{self._port}"

    def url(self, host: str = "%2F") -> str:
        """Return the URL of a virtual host."""
        return f"{self._scheme}://guest:guest@{self.address}/{host}"

    def kill(self) -> None:
        """Kill the broker; `start` starts it again with the same data."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        while self._listens(self._port):  # the other processes of the group are still ending
            time.sleep(0.01)

    def _listens(self, port: int) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def close(self) -> None:
        """End the broker and delete its files."""
        self.kill()
        self._names.kill()
        self._names.wait()
        shutil.rmtree(self._root, ignore_errors=True)


def start_or_skip(tls: Pair | None = None, settings: Mapping[str, int] | None = None) -> RabbitmqBroker:
    """Start a broker, with TLS if there is a certificate; without RabbitMQ, fail in CI and skip elsewhere."""
    installation = find_installation()
    if installation is None:
        lacking("what runs on worker machines (no rabbitmq-server under /usr/lib/rabbitmq)", "RabbitMQ")
    return RabbitmqBroker(installation, tls, settings)
