# SPDX-License-Identifier: Apache-2.0
"""A real PgBouncer for tests, before a PostgreSQL of the tests, on a Unix socket in a temporary folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from tests.missing_components import lacking
from tests.postgresql import PostgresqlServer, becoming, serve_connections, unprivileged

#: Of its socket; it opens no other one.
_PORT = 6432


class PgBouncer:
    """A connection pooler that can be suspended, killed and started again.

    Args:
        program: the program.
        server: the PostgreSQL.
        mode: session, transaction or statement.
        connections: the largest number of connections to a database.
    """

    def __init__(self, program: str, server: PostgresqlServer, mode: str, connections: int = 10) -> None:
        self._program = program
        self._identity = unprivileged()
        self._root = Path(tempfile.mkdtemp(prefix="qbouncer"))
        self._process: subprocess.Popen[bytes] | None = None
        (self._root / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={server.host} user=test\n[pgbouncer]\nlisten_addr =\nlisten_port = {_PORT}\n"
            f"unix_socket_dir = {self._root}\nauth_type = any\npool_mode = {mode}\ndefault_pool_size = {connections}\n"
            "max_client_conn = 500\nserver_login_retry = 0.1\n"
        )
        if self._identity is not None:
            os.chown(self._root, *self._identity)
        self.start()

    def url(self, database: str) -> str:
        """Return the URL of a database through this pooler."""
        return f"postgresql://test@/{database}?host={self._root}&port={_PORT}"

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        command = [*becoming(self._identity), self._program, str(self._root / "pgbouncer.ini")]
        self._process = serve_connections(command, self._root, self.url("postgres"))

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill it; `start` starts it again."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(100)

    def close(self) -> None:
        """Kill it and delete its files."""
        self.kill()
        shutil.rmtree(self._root, ignore_errors=True)


def find_program() -> str | None:
    """Return the program, or None."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


def start_or_skip(server: PostgresqlServer, mode: str, connections: int = 10) -> PgBouncer:
    """Start a pooler; without PgBouncer, fail in CI and skip elsewhere."""
    program = find_program()
    if program is None:
        lacking("connection poolers", "PgBouncer")
    return PgBouncer(program, server, mode, connections)
