# SPDX-License-Identifier: Apache-2.0
"""Jobs run on workers with the versions that they require: on one server, on two, and on machines behind RabbitMQ."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import pytest

import qonduit_client
from qonduit.v1.job_pb2 import QueueReason
from qonduit_client import Client, InvalidRequest, PreconditionFailed, aio
from tests.e2e.test_cli import qonduit
from tests.package_installation import uv
from tests.postgresql import PostgresqlServer
from tests.python_environments import layered
from tests.rabbitmq import RabbitmqBroker
from tests.server_process import Server, serving, working
from tests.unit.execution.pool_fixture import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
AER = "IBM/aer_simulator"
#: 256 outcomes: runs with different seeds practically never agree.
SPREAD = 'OPENQASM 3.0; include "stdgates.inc"; qubit[8] q; bit[8] c; h q; c = measure q;'
OLD, NEW = "0.17.2", version("qiskit-aer")


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Python of an environment like this one with an older Aer."""
    assert OLD != NEW
    python = layered(tmp_path_factory.mktemp("older") / "environment", ROOT)
    wanted = f"qiskit-aer=={OLD}"
    uv("pip", "install", "--python", python, "--no-deps", wanted, untested=f"workers with {wanted}")
    return str(python)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    database = tmp_path_factory.mktemp("local") / "q.sqlite3"
    with serving(f"sqlite:///{database}", providers="IBM") as server:
        yield server


@pytest.fixture
def shared(postgresql: PostgresqlServer, postgresql_template: str) -> Iterator[str]:
    name = postgresql.new_database(postgresql_template)
    yield postgresql.url(name)
    postgresql.drop_database(name)


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def aer_of(handle: qonduit_client.JobHandle) -> str:
    """Return the version of Aer that made the result of a job."""
    return handle.result(timeout=PATIENCE).message.provenance.versions["qiskit-aer"]


def environments(client: Client) -> set[str]:
    """Return the versions of Aer that the workers have."""
    (provider,) = client.providers()
    return {each.versions["qiskit-aer"] for each in provider.environments}


def test_a_server_refuses_versions_that_its_workers_do_not_have(local: Server) -> None:
    with Client(local.target) as client:
        wait(lambda: environments(client) == {NEW})
        with pytest.raises(PreconditionFailed, match=rf"qiskit-aer==9; workers have qiskit-aer {NEW}") as caught:
            client.run(SPREAD, AER, versions="qiskit-aer==9")
        assert caught.value.reason == "VERSION_UNAVAILABLE"
        with pytest.raises(PreconditionFailed, match="no-such-package not installed"):
            client.check(SPREAD, AER, versions=["numpy>=1", "no-such-package>=1"])
        with pytest.raises(PreconditionFailed, match=f"qiskit-aer {NEW}"):
            client.run(SPREAD, "AUTO", versions="qiskit-aer==9")
        with pytest.raises(InvalidRequest, match="must be a package and a version specifier"):
            client.run(SPREAD, AER, versions="qiskit-aer 9")
        first = client.run(SPREAD, AER, seed=3, versions=["numpy>=1", f"Qiskit_Aer=={NEW}"])
        assert aer_of(first) == NEW
        # The versions of a result are those of another job.
        again = client.run(SPREAD, AER, seed=3, versions=first.result().message.provenance.versions)
        assert again.result(timeout=PATIENCE).counts == first.result().counts
        assert list(again.job().required_versions.requirements)
        (worker, *_) = client.workers()
        assert worker.versions["qiskit-aer"] == NEW
        assert worker.versions["python"].startswith("3.")


def test_a_job_that_waits_for_versions_says_which_ones_there_are(local: Server) -> None:
    async def submit() -> int:
        async with aio.Client(local.target) as client:
            handle = await client.run(SPREAD, AER, versions={"qiskit-aer": "9"}, wait_for_versions=True)
            return handle.id

    with Client(local.target) as client:
        waiting = client.job(asyncio.run(submit()))
        place = waiting.job().queue
        assert place.reason == QueueReason.QUEUE_REASON_VERSIONS
        assert f"qiskit-aer===9; workers have qiskit-aer {NEW}" in place.message
        # It does not keep jobs behind it from running.
        assert aer_of(client.run(SPREAD, AER)) == NEW
        code, written, _ = qonduit(local, "job", str(waiting.id))
        assert code == 0
        assert "qiskit-aer===9" in written
        waiting.cancel()


def test_the_command_line_requires_versions(local: Server, tmp_path: Path) -> None:
    program = tmp_path / "spread.qasm"
    program.write_text(SPREAD)
    code, _, errors = qonduit(local, "run", str(program), "--require-version", "qiskit-aer<0.17")
    assert code != 0
    assert f"workers have qiskit-aer {NEW}" in errors
    arguments = ("--require-version", "qiskit-aer>=0.17", "--require-version", "numpy>=1", "--output", "json")
    code, written, _ = qonduit(local, "run", str(program), *arguments)
    assert code == 0
    assert NEW in written
    code, _, errors = qonduit(local, "run", str(program), "--wait-for-versions")
    assert code != 0
    assert "--require-version qiskit-aer==" in errors


@pytest.mark.timeout(600)
def test_servers_of_one_database_run_the_jobs_of_their_versions(shared: str, older: str) -> None:
    with ExitStack() as ends:
        settings = {"providers": "IBM", "workers": "1", "lease_seconds": "5"}
        new = ends.enter_context(serving(shared, **settings))
        old = ends.enter_context(serving(shared, **settings, provider_python=f"IBM={older}"))
        clients = [ends.enter_context(Client(server.target)) for server in (new, old)]
        for client in clients:
            wait(lambda client=client: environments(client) == {OLD, NEW})  # type: ignore[misc]
        handles = [
            (wanted, client.run(SPREAD, AER, seed=5, versions=f"qiskit-aer=={wanted}"))
            for _ in range(5)
            for client in clients
            for wanted in (OLD, NEW)
        ]
        counts: dict[str, list[object]] = {OLD: [], NEW: []}
        for wanted, handle in handles:
            assert aer_of(handle) == wanted
            counts[wanted].append(handle.result().counts)
        assert all(each == found[0] for found in counts.values() for each in found)
        # After a server is lost, no worker has its versions.
        old.process.kill()
        wait(lambda: environments(clients[0]) == {NEW})
        with pytest.raises(PreconditionFailed, match=f"workers have qiskit-aer {NEW}"):
            clients[0].run(SPREAD, AER, versions=f"qiskit-aer=={OLD}")


@pytest.mark.timeout(600)
def test_machines_run_the_jobs_of_their_versions(rabbitmq: RabbitmqBroker, tmp_path: Path, older: str) -> None:
    database = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    settings = {"executor": "celery", "broker": rabbitmq.url(), "providers": "IBM"}
    with ExitStack() as ends:
        server = ends.enter_context(serving(database, **settings))
        client = ends.enter_context(Client(server.target))
        ends.enter_context(working(rabbitmq.url()))
        with working(rabbitmq.url(), provider_python=f"IBM={older}") as machine:
            wait(lambda: environments(client) == {OLD, NEW})
            handles = [
                (wanted, client.run(SPREAD, AER, seed=5, versions=f"qiskit-aer=={wanted}"))
                for _ in range(10)
                for wanted in (OLD, NEW)
            ]
            assert all(aer_of(handle) == wanted for wanted, handle in handles)
            first = handles[0][1]
            exact = client.rerun(first.id, exact=True)
            assert aer_of(exact) == OLD
            assert exact.result().counts == first.result().counts
            code, written, _ = qonduit(server, "workers", "--output", "json")
            assert code == 0
            assert {json.loads(line)["versions"]["qiskit-aer"] for line in written.splitlines()} == {OLD, NEW}
            machine.kill()
        wait(lambda: environments(client) == {NEW})
        with pytest.raises(
            PreconditionFailed, match=rf"closest one differs in qiskit-aer=={OLD} \(has {NEW}\)"
        ) as caught:
            client.rerun(first.id, exact=True)
        assert caught.value.reason == "NOT_REPRODUCIBLE"
        waiting = client.run(SPREAD, AER, seed=5, versions=f"qiskit-aer=={OLD}", wait_for_versions=True)
        assert aer_of(client.run(SPREAD, AER)) == NEW
        assert waiting.job().queue.reason == QueueReason.QUEUE_REASON_VERSIONS
        with working(rabbitmq.url(), provider_python=f"IBM={older}"):
            assert aer_of(waiting) == OLD
            assert waiting.result().counts == first.result().counts
