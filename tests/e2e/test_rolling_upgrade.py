# SPDX-License-Identifier: Apache-2.0
"""Servers of this release and the next ones share a PostgreSQL database, as far as the new schemas allow it.

This release is the wheel of the work tree. The next releases are copies of it with one migration more each: the first
one adds a column, and the second one makes it a duty to write it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from qonduit_server.store import migrations
from qonduit_server.store.engines import parse_url
from tests.both_clients import BOTH_CLIENTS
from tests.contract.rpc_fixture import BELL
from tests.e2e.test_release import UNTESTED, git
from tests.e2e.test_release import tree as tree
from tests.package_installation import PATIENCE, uv
from tests.postgresql import PostgresqlServer
from tests.server_process import Server, free_port, serving

WAIT = 200.0
NEXT, AFTER_NEXT = (f"{int(migrations.HEAD) + more:04}" for more in (1, 2))
REVISION = """
from alembic import op

revision = "{revision}"
down_revision = "{before}"
branch_labels = None
depends_on = None
oldest_server = "{oldest}"

def upgrade():
    op.execute("{statement}")
"""
ADD_COLUMN = "ALTER TABLE jobs ADD COLUMN tier bigint NOT NULL DEFAULT 7"
REQUIRE_COLUMN = "ALTER TABLE jobs ALTER COLUMN tier DROP DEFAULT"

pytestmark = pytest.mark.timeout(PATIENCE)


@dataclass(frozen=True)
class Release:
    """An unpacked wheel of a release."""

    folder: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """Return the variables by which Python imports this release, before the work tree."""
        return {"PYTHONPATH": str(self.folder)}

    def successor(self, folder: Path, revision: str, oldest: str, statement: str) -> Release:
        """Copy the release and add a migration."""
        shutil.copytree(self.folder, folder)
        package = folder / "qonduit_server" / "store" / "migrations"
        before = f"{int(revision) - 1:04}"
        (package / "versions" / f"{revision}_next.py").write_text(
            REVISION.format(revision=revision, before=before, oldest=oldest, statement=statement)
        )
        module = (package / "__init__.py").read_text()
        head = f'HEAD: Final = "{before}"'
        assert head in module
        (package / "__init__.py").write_text(module.replace(head, f'HEAD: Final = "{revision}"'))
        return Release(folder)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the release that ends by itself."""
        command = [sys.executable, "-m", "qonduit_server", *arguments]
        variables = os.environ | self.environment
        return subprocess.run(command, capture_output=True, text=True, timeout=WAIT, check=False, env=variables)


@pytest.fixture
def releases(tree: Path, tmp_path: Path) -> tuple[Release, Release, Release]:
    """This release, and the two next ones."""
    git(tree, "tag", "v1.0.0")
    uv("build", "--wheel", "--python", sys.executable, "--out-dir", tmp_path / "wheel", tree, untested=UNTESTED)
    (wheel,) = (tmp_path / "wheel").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "now")
    now = Release(tmp_path / "now")
    following = now.successor(tmp_path / "next", NEXT, migrations.OLDEST_SERVER, ADD_COLUMN)
    return now, following, following.successor(tmp_path / "after", AFTER_NEXT, NEXT, REQUIRE_COLUMN)


@pytest.fixture
def url(postgresql: PostgresqlServer) -> Iterator[str]:
    """The URL of a PostgreSQL database without tables."""
    name = postgresql.new_database()
    yield postgresql.url(name)
    postgresql.drop_database(name)


@contextmanager
def server_of(release: Release, url: str, port: int = 0) -> Iterator[Server]:
    with serving(
        url, environment=release.environment, listen=f"127.0.0.1:{port}", providers="IBM", preload="IBM", workers="1"
    ) as server:
        environment = Path(f"/proc/{server.process.pid}/environ").read_text()
        assert f"PYTHONPATH={release.folder}\0" in environment
        yield server


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    engine = create_engine(parse_url(url))
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(text(query))]
    engine.dispose()
    return found


class Load:
    """Clients with retries that run jobs without a pause, one of each kind at each server, until `stop`."""

    def __init__(self, targets: Sequence[str]) -> None:
        self.stopping = threading.Event()
        self._threads = ThreadPoolExecutor()
        self._progress = threading.Condition()
        self._ended: dict[tuple[str, str], list[int]] = {}
        self._clients: list[Future[None]] = [
            self._threads.submit(self._work, kind, target) for target in targets for kind in BOTH_CLIENTS
        ]

    def _work(self, kind: str, target: str) -> None:
        ended = self._ended.setdefault((kind, target), [])
        with BOTH_CLIENTS[kind](target, timeout=WAIT, connect_timeout=WAIT) as client:
            while not self.stopping.is_set():
                job = client.run(BELL, shots=50)
                events = [event.sequence for event in job.events(timeout=WAIT)]
                assert events == list(range(1, len(events) + 1))
                (result,) = job.results(WAIT)
                assert sum(result.counts.values()) == 50
                with self._progress:
                    ended.append(job.id)
                    self._progress.notify_all()

    def advance(self) -> None:
        """Wait until each client has run two more jobs."""
        with self._progress:
            wanted = {key: len(ids) + 2 for key, ids in self._ended.items()}
            done = self._progress.wait_for(
                lambda: self._failed() or all(len(self._ended[key]) >= count for key, count in wanted.items()), WAIT
            )
        assert done
        self._raise()

    def _failed(self) -> bool:
        return any(each.done() for each in self._clients)

    def _raise(self) -> None:
        for each in self._clients:
            if each.done():
                each.result()

    def stop(self) -> list[int]:
        """Return the jobs of all clients, once they have ended. Raises the error of a client."""
        self.stopping.set()
        for each in self._clients:
            each.result(WAIT)
        self._threads.shutdown()
        return [job_id for ids in self._ended.values() for job_id in ids]


def test_servers_are_replaced_one_after_another_and_no_call_is_lost(
    releases: tuple[Release, Release, Release], url: str
) -> None:
    now, following, _ = releases
    ports = (free_port(), free_port())
    with ExitStack() as running:
        stacks = [running.enter_context(ExitStack()) for _ in ports]
        for stack, port in zip(stacks, ports, strict=True):
            stack.enter_context(server_of(now, url, port))
        load = Load([f"127.0.0.1:{port}" for port in ports])
        running.callback(load.stopping.set)
        load.advance()
        for stack, port in zip(stacks, ports, strict=True):
            stack.close()
            stack.enter_context(server_of(following, url, port))
            # After the first one, servers of both releases use the new schema.
            load.advance()
            assert rows(url, "SELECT version_num FROM alembic_version") == [(NEXT,)]
            assert rows(url, "SELECT count(*) FROM jobs WHERE tier = 7") != [(0,)]
        jobs = load.stop()
        # A server of this release starts on the newer schema too, for example after a crash or to go back.
        with server_of(now, url) as back, BOTH_CLIENTS["blocking"](back.target) as client:
            assert client.run(BELL, shots=50).results(WAIT)
            checked = now.run("doctor", "--database", url)
            assert f"the schema is at revision {NEXT}; this version has {migrations.HEAD}" in checked.stdout
            assert "tier" not in checked.stdout
    # Repeated requests made no second job, and no job failed or ran for a second time.
    assert rows(url, "SELECT count(*), min(state), max(state) FROM jobs") == [(len(jobs) + 1, 4, 4)]
    assert len(set(jobs)) == len(jobs)


def test_a_schema_that_needs_newer_servers_waits_until_the_older_ones_have_stopped(
    releases: tuple[Release, Release, Release], url: str
) -> None:
    now, following, after = releases
    assert now.run("migrate", "--database", url).returncode == 0
    with server_of(following, url) as newer:
        with server_of(now, url) as older:
            refused = after.run("migrate", "--database", url)
            assert refused.returncode == 1
            assert f"needs servers of revision {NEXT} or newer" in refused.stderr
            assert f"(1 of revision {migrations.HEAD}): stop them" in refused.stderr
            assert rows(url, "SELECT version_num FROM alembic_version") == [(NEXT,)]
            for each in (older, newer):
                with BOTH_CLIENTS["blocking"](each.target) as client:
                    assert client.run(BELL, shots=50).results(WAIT)
        done = after.run("migrate", "--database", url)
        assert (done.stdout, done.stderr) == (f"schema {NEXT} -> {AFTER_NEXT}\n", "")
        assert newer.process.poll() is None
    for command in (["serve", "--listen", "127.0.0.1:0"], ["migrate"], ["audit", "verify"]):
        late = now.run(*command, "--database", url)
        assert late.returncode == 1
        assert f"is at revision {AFTER_NEXT}, which needs servers of revision {NEXT} or newer" in late.stderr
    assert rows(url, "SELECT oldest_server FROM database_state") == [(NEXT,)]
