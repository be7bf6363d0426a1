# SPDX-License-Identifier: Apache-2.0
"""A real PostgreSQL for tests: one server a session, one freshly cloned database a test, and standbys.

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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


def unprivileged() -> tuple[int, int] | None:
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


def becoming(identity: tuple[int, int] | None) -> list[str]:
    """Return the command prefix that runs a command as another user and group; empty for the current user.

    Popen's own options would have to fork, which sometimes hangs in a process with gRPC's threads.
    """
    if identity is None:
        return []
    become = (
        "import os, sys; user, group = map(int, sys.argv[1:3]); "
        "os.setgroups([]); os.setgid(group); os.setuid(user); os.execv(sys.argv[3], sys.argv[3:])"
    )
    return [sys.executable, "-I", "-c", become, *map(str, identity)]


def serve_connections(command: list[str], folder: Path, url: str) -> subprocess.Popen[bytes]:
    """Start a program in a folder, to whose file `log` it writes, and wait until it accepts a connection."""
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    deadline = time.monotonic() + 100
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise RuntimeError(f"{command} did not start: {(folder / 'log').read_text()}") from error
            time.sleep(0.02)
        else:
            return process


class PostgresqlServer:
    """A PostgreSQL server that can be stopped, killed and started again; `new_database` clones the template.

    Args:
        binaries: the folder of its programs.
        primary: the server of which it is a standby; None for a server of its own.
        folder: where its files are; by default in memory, if there is room.
        settings: further settings. By default commits are not durable.
    """

    def __init__(
        self, binaries: Path, primary: PostgresqlServer | None = None, folder: str | None = None, **settings: str
    ) -> None:
        self._binaries = binaries
        self._settings = {"shared_buffers": "32MB", "max_connections": "200", "fsync": "off", **settings}
        self._identity = unprivileged()
        # Short: a socket's path has at most 107 bytes.
        self._root = Path(tempfile.mkdtemp(prefix="qpg", dir=folder or _folder()))
        self._data = self._root / "data"
        self._version = int(_version(binaries.parent.name))
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        if self._identity is not None:
            os.chown(self._root, *self._identity)
        if primary is None:
            options = "-U test --auth=trust --encoding=UTF8 --no-locale --no-sync"
            self._run("initdb", "-D", self._data, *options.split())
            self.start()
        else:
            self.follow(primary)

    def _run(self, name: str, *arguments: object) -> None:
        done = subprocess.run(
            [*becoming(self._identity), str(self._binaries / name), *map(str, arguments)],
            capture_output=True,
            check=False,
            cwd=self._root,
        )
        if done.returncode:
            raise RuntimeError(f"{name} failed: {done.stderr.decode(errors='replace')}")

    @property
    def host(self) -> str:
        """The folder of its socket."""
        return str(self._root)

    def url(self, database: str = "postgres", *others: PostgresqlServer) -> str:
        """Return the URL of a database of this server; with standbys, of the one that accepts writes."""
        hosts = "&".join(f"host={each.host}" for each in (self, *others))
        return f"postgresql://test@/{database}?{hosts}" + ("&target_session_attrs=read-write" if others else "")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        command = [
            *becoming(self._identity),
            str(self._binaries / "postgres"),
            *("-D", str(self._data), "-k", str(self._root), "-h", ""),
            *(part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")),
        ]
        self._process = serve_connections(command, self._root, self.url())

    def stop(self) -> None:
        """Stop the server and close every connection."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(100)
            self._process = None

    def kill(self) -> None:
        """Kill the server and its backends; what it had not written is lost."""
        assert self._process is not None
        self.freeze()
        for pid in (*self._children(), self._process.pid):
            os.kill(pid, signal.SIGKILL)
        self._process.wait(100)
        self._process = None

    def follow(self, primary: PostgresqlServer) -> None:
        """Start as a standby of another server, with its data instead of those of this server, which is stopped."""
        shutil.rmtree(self._data, ignore_errors=True)
        options = "--write-recovery-conf --checkpoint=fast --no-sync"
        self._run("pg_basebackup", "-D", self._data, "-d", f"host={primary.host} user=test", *options.split())
        self.start()

    def promote(self) -> None:
        """Make a standby accept writes, and wait until it does."""
        self.execute("SELECT pg_promote()")

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
        for child in self._children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)

    def _children(self) -> list[int]:
        assert self._process is not None
        threads = Path(f"/proc/{self._process.pid}/task").iterdir()
        return [int(child) for thread in threads for child in (thread / "children").read_text().split()]

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement, by default in the maintenance database, and return its rows."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            done = connection.execute(statement.encode())
            return done.fetchall() if done.description else []

    def new_database(self, template: str = "template1") -> str:
        """Clone a template and return the clone's name."""
        name = f"test{next(self._numbers)}"
        # Copying files takes half the time of writing every page to the log, which is the default since version 15.
        files = "" if self._version < 15 else " STRATEGY FILE_COPY"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"{files}')
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


@contextlib.contextmanager
def running(folder: str | None = None, **settings: str) -> Iterator[PostgresqlServer]:
    """Run a server for a program that is not a test; without PostgreSQL, end the program.

    Args:
        folder: as of `PostgresqlServer`.
        settings: likewise.
    """
    binaries = find_binaries()
    if binaries is None:
        raise SystemExit("no PostgreSQL is installed here (no initdb on PATH or under /usr/lib/postgresql)")
    with contextlib.closing(PostgresqlServer(binaries, folder=folder, **settings)) as server:
        yield server
