# SPDX-License-Identifier: Apache-2.0
"""A real PostgreSQL for tests: one server a session, one freshly cloned database a test.

Runs `initdb` and `postgres` from the newest installation found, in a temporary folder, on a Unix socket in it.
PostgreSQL refuses to run as root: root's tests run it as another user.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg

from tests.missing_components import lacking


def find_binaries() -> Path | None:
    """Return the folder with initdb and postgres, the newest installation first, or None."""
    installed = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: _version(folder.parent.name), reverse=True
    )
    on_path = shutil.which("initdb")
    # PATH may hold a link to an installation; postgres looks for its files beside the real executable.
    folders = [*([Path(on_path).resolve().parent] if on_path else []), *installed]
    return next((folder for folder in folders if (folder / "initdb").exists() and (folder / "postgres").exists()), None)


def _folder() -> str | None:
    """Return a folder in memory, where cloning a database is several times faster, if there is one."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2 * 1024**3
    return str(memory) if roomy else None


def _version(name: str) -> float:
    try:
        return float(name)
    except ValueError:
        return 0.0


def _unprivileged() -> tuple[int, int] | None:
    """Return the user and group to run as, or None for the current user."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return user.pw_uid, user.pw_gid
    return 65534, 65534


class PostgresqlServer:
    """A PostgreSQL server that can be stopped and started again; `new_database` clones the template."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self._identity = _unprivileged()
        # Short: a socket's path has at most 107 bytes.
        self._root = Path(tempfile.mkdtemp(prefix="qpg", dir=_folder()))
        self._data = self._root / "data"
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        if self._identity is not None:
            os.chown(self._root, *self._identity)
        self._run(
            "initdb", "-D", self._data, "-U", "test", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"
        )
        self.start()

    def _options(self) -> dict[str, object]:
        if self._identity is None:
            return {"cwd": self._root}
        user, group = self._identity
        return {"cwd": self._root, "user": user, "group": group, "extra_groups": []}

    def _becoming(self) -> list[str]:
        """Return the command prefix that runs a command as the other user.

        Popen's own options would have to fork, which sometimes hangs in a process with gRPC's threads.
        """
        if self._identity is None:
            return []
        become = (
            "import os, sys; user, group = map(int, sys.argv[1:3]); "
            "os.setgroups([]); os.setgid(group); os.setuid(user); os.execv(sys.argv[3], sys.argv[3:])"
        )
        return [sys.executable, "-I", "-c", become, *map(str, self._identity)]

    def _run(self, name: str, *arguments: object) -> None:
        done = subprocess.run(
            [str(self._binaries / name), *map(str, arguments)],
            capture_output=True,
            check=False,
            **self._options(),  # type: ignore[call-overload]
        )
        if done.returncode:
            raise RuntimeError(f"{name} failed: {done.stderr.decode(errors='replace')}")

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database of this server."""
        return f"postgresql://test@/{database}?host={self._root}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        with (self._root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *self._becoming(),
                    str(self._binaries / "postgres"),
                    *("-D", str(self._data), "-k", str(self._root), "-h", ""),
                    *("-c", "shared_buffers=32MB", "-c", "max_connections=200", "-c", "fsync=off"),
                ],
                stdout=log,
                stderr=log,
                cwd=self._root,
            )
        deadline = time.monotonic() + 100
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=2).close()
            except psycopg.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"postgres did not start: {(self._root / 'log').read_text()}") from error
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """Stop the server and close every connection."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(100)
            self._process = None

    def freeze(self) -> None:
        """Suspend the server and its backends: connections stay open, and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume the suspended server."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        # The server first, so that it starts no backend that the signal misses.
        os.kill(self._process.pid, number)
        for thread in Path(f"/proc/{self._process.pid}/task").iterdir():
            for child in map(int, (thread / "children").read_text().split()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, number)

    def execute(self, statement: str) -> None:
        """Run a statement in the maintenance database."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[call-overload]

    def new_database(self, template: str = "template1") -> str:
        """Clone a template and return the clone's name."""
        name = f"test{next(self._numbers)}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, even if clients are connected to it."""
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def close(self) -> None:
        """Stop the server and delete its files."""
        self.stop()
        shutil.rmtree(self._root, ignore_errors=True)


def start_or_skip() -> PostgresqlServer:
    """Start a server; without PostgreSQL, fail in CI and skip elsewhere."""
    binaries = find_binaries()
    if binaries is None:
        lacking("what runs on PostgreSQL (no initdb on PATH or under /usr/lib/postgresql)", "PostgreSQL")
    return PostgresqlServer(binaries)
