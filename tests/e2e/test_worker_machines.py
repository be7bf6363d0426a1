# SPDX-License-Identifier: Apache-2.0
"""`qonduit serve` and `qonduit worker` with a real RabbitMQ: jobs run on other machines, whatever dies meanwhile."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

import qonduit_client
from qonduit.v1.job_pb2 import JobState
from qonduit_server.encryption import key_ring
from tests.e2e.faults.submitting import a_job
from tests.e2e.faults.trap import RecordingTrap
from tests.e2e.test_cli import qonduit
from tests.e2e.test_credentials import serving_vendor
from tests.rabbitmq import RabbitmqBroker
from tests.server_process import SERVE, WORK, Server, log_lines, serving, working
from tests.unit.execution.pool_fixture import PATIENCE
from tests.vendor_provider import PREFIX, install

BELL = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];\ncreg c[2];\nh q[0];\ncx q[0], q[1];\nmeasure q -> c;\n'
#: Takes about two seconds: 23 qubits.
LONG = (
    'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[23];\ncreg c[23];\n'
    + "".join(f"u3(0.1,0.2,{i}) q[{i % 23}];\ncx q[{i % 23}],q[{(i + 7) % 23}];\n" for i in range(200))
    + "measure q -> c;\n"
)


@pytest.fixture
def serve(rabbitmq: RabbitmqBroker) -> Callable[[str], contextmanager[Server]]:  # type: ignore[type-arg]
    def begin(database: str) -> object:
        return serving(database, executor="celery", broker=rabbitmq.url(), providers="IBM,STIM", lease_seconds="5")

    return begin  # type: ignore[return-value]


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_jobs_run_on_machines_that_come_and_go(
    rabbitmq: RabbitmqBroker, database_url: str, serve: Callable[[str], object]
) -> None:
    with ExitStack() as ends:
        server: Server = ends.enter_context(serve(database_url))  # type: ignore[arg-type]
        client = ends.enter_context(qonduit_client.Client(server.target))
        offered = lambda: {name for name, each in client.named_devices().items() if each.available}  # noqa: E731
        assert not offered()
        with working(rabbitmq.url()) as machine:
            _wait(lambda: "IBM/aer_simulator" in offered())
            handles = [client.run(BELL, device="IBM/aer_simulator", shots=100, seed=1) for _ in range(30)]
            counts = [handle.result().counts for handle in handles]
            assert all(each == counts[0] for each in counts)
            job = handles[0].job()
            assert len(job.celery_id) == 36
            hosts = {worker.host for worker in client.workers()}
            assert hosts
            assert "" not in hosts
            assert "STIM/stim" not in offered()
            with working(rabbitmq.url(), providers="STIM"):
                _wait(lambda: "STIM/stim" in offered())
                assert client.run(BELL, device="STIM/stim", shots=100).result().shots == 100
            _wait(lambda: "STIM/stim" not in offered())
            # A machine that is killed while it runs a job: the job runs again on the next one.
            handle = client.run(LONG, device="IBM/aer_simulator", shots=10)
            _wait(lambda: handle.job().celery_id != "")
            machine.kill()
            with working(rabbitmq.url()):
                handle.result()
                ended = handle.job()
                assert ended.state == JobState.JOB_STATE_SUCCEEDED
                assert ended.attempt == 2
                assert ended.celery_id != job.celery_id


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("jobs", [60, pytest.param(10_000, marks=pytest.mark.long)])
def test_queued_jobs_wait_in_the_database(
    rabbitmq: RabbitmqBroker, tmp_path: Path, serve: Callable[[str], object], trap: RecordingTrap, jobs: int
) -> None:
    with ExitStack() as ends:
        server: Server = ends.enter_context(serve(f"sqlite:///{tmp_path / 'q.sqlite3'}"))  # type: ignore[arg-type]
        client = ends.enter_context(qonduit_client.Client(server.target))
        ends.enter_context(working(rabbitmq.url(), environment=trap.environment))
        _wait(lambda: bool(client.named_devices("available = true")))
        _, worker = trap.submit_and_stop(server.target, a_job(1, 0, 0))
        with ThreadPoolExecutor(8) as callers:
            handles = list(callers.map(lambda _: client.run(BELL, device="IBM/aer_simulator", shots=1), range(jobs)))
        lines = rabbitmq.control("list_queues", "name", "messages", "--no-table-headers").splitlines()
        waiting = {name: int(number) for name, number in map(str.split, lines) if name.startswith("qonduit.")}
        # The only worker is occupied: a few short tasks were sent ahead, and wait in the machine.
        print(f"{jobs} jobs, messages in the broker: {sum(waiting.values())}")
        assert sum(waiting.values()) < 40
        queued = [handle for handle in handles if handle.job().state == JobState.JOB_STATE_QUEUED]
        assert len(queued) >= jobs - 40
        queued[-1].cancel()
        assert queued[-1].wait(PATIENCE).state == JobState.JOB_STATE_CANCELLED
        assert client.cancel_jobs('state = "QUEUED"')
        os.kill(worker, signal.SIGCONT)
        for handle in handles[:40]:
            handle.wait(PATIENCE)


#: A program of the next release: it sends messages of the next version, and understands those of this one.
_NEXT = (
    "from qonduit_server.execution.celery import messages\n"
    "messages.VERSION += 1\n"
    "from qonduit_server.cli import main\n"
    "main()\n"
)


@pytest.mark.parametrize("newer", ["machine", "server"])
def test_a_machine_and_a_server_of_adjacent_versions_work_together(
    rabbitmq: RabbitmqBroker, tmp_path: Path, newer: str
) -> None:
    def command(part: str, this: Sequence[str]) -> Sequence[str]:
        return (sys.executable, "-c", _NEXT, this[-1]) if part == newer else this

    database = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    settings = {"executor": "celery", "broker": rabbitmq.url(), "providers": "IBM"}
    with (
        working(rabbitmq.url(), command=command("machine", WORK)),
        serving(database, command=command("server", SERVE), **settings) as server,
        qonduit_client.Client(server.target) as client,
    ):
        _wait(lambda: bool(client.named_devices("available = true")))
        handles = [client.run(BELL, device="IBM/aer_simulator", shots=100) for _ in range(5)]
        assert [handle.result().shots for handle in handles] == [100] * 5
        cancelled = client.run(LONG, device="IBM/aer_simulator", shots=10)
        _wait(lambda: cancelled.job().state == JobState.JOB_STATE_RUNNING)
        cancelled.cancel()
        assert cancelled.wait(PATIENCE).state == JobState.JOB_STATE_CANCELLED


def test_a_killed_server_leaves_machines_to_the_next_one(
    rabbitmq: RabbitmqBroker, tmp_path: Path, serve: Callable[[str], object], trap: RecordingTrap
) -> None:
    database = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    with working(rabbitmq.url(), environment=trap.environment):
        with ExitStack() as ends:
            server: Server = ends.enter_context(serve(database))  # type: ignore[arg-type]
            client = ends.enter_context(qonduit_client.Client(server.target))
            _wait(lambda: bool(client.named_devices("available = true")))
            job_id, worker = trap.submit_and_stop(server.target, a_job(1, 2, 1))
            server.process.kill()
            server.process.wait()
            os.kill(worker, signal.SIGCONT)
        with ExitStack() as ends:
            server = ends.enter_context(serve(database))  # type: ignore[arg-type]
            client = ends.enter_context(qonduit_client.Client(server.target))
            again = client.job(job_id)
            again.result()
            assert again.job().attempt == 2


def test_a_credential_reaches_a_process_of_a_machine_that_has_the_key(rabbitmq: RabbitmqBroker, tmp_path: Path) -> None:
    keys = str(tmp_path / "worker.keys")
    key_ring.create(Path(keys), "first")
    site = install(tmp_path / "site of the machine")
    secret = f"{PREFIX}{secrets.token_hex(12)}"

    def offered() -> bool:
        with qonduit_client.Client(vendor.server.target) as client:
            return "VENDOR/simulator" in client.named_devices("available = true")

    with serving_vendor(tmp_path, executor="celery", broker=rabbitmq.url(), worker_key_file=keys) as vendor:
        log = tmp_path / "machine.jsonl"
        with working(rabbitmq.url(), "VENDOR", log=log, environment=site, worker_key_file=keys, log_level="debug"):
            _wait(offered)
            first, second = (vendor.run("chatty", credential=secret) for _ in range(2))
            assert first.state == second.state == JobState.JOB_STATE_SUCCEEDED
            assert vendor.metadata(first)["pid"] != vendor.metadata(second)["pid"]
        _wait(lambda: not offered())
        with working(rabbitmq.url(), "VENDOR", environment=site):
            _wait(offered)
            failed = vendor.run("simulator", credential=secret)
            assert failed.failure.reason == "CREDENTIAL_MISSING"
            assert "the machine does not have (worker_key_file)" in failed.failure.message
    assert "using '****" in log.read_text()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


def test_a_worker_without_a_broker_says_what_to_set() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "qonduit_server", "worker"],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 1
    assert (
        done.stderr
        == "qonduit: the executor celery needs the URL of a RabbitMQ: amqp://USER@HOST/VHOST, or amqps (broker)\n"
    )


def test_a_machine_adopts_a_new_password_of_the_broker(
    rabbitmq: RabbitmqBroker, tmp_path: Path, serve: Callable[[str], object]
) -> None:
    name, file, log = f"user{secrets.token_hex(4)}", tmp_path / "worker.toml", tmp_path / "log.jsonl"

    def configure(password: str, more: str = "") -> None:
        url = rabbitmq.url().replace("guest:guest", f"{name}:{password}")
        file.write_text(f'broker = "{url}"\nlog_format = "json"\n{more}')
        file.chmod(0o600)

    rabbitmq.control("add_user", name, "old")
    rabbitmq.control("set_permissions", name, ".*", ".*", ".*")
    configure("old")
    with ExitStack() as ends:
        server: Server = ends.enter_context(serve(f"sqlite:///{tmp_path / 'q.sqlite3'}"))  # type: ignore[arg-type]
        client = ends.enter_context(qonduit_client.Client(server.target))
        machine = ends.enter_context(working("", log=log, environment={"QONDUIT_SERVER_CONFIG": str(file)}))
        _wait(lambda: bool(client.named_devices("available = true")))
        rabbitmq.control("change_password", name, "new")
        configure("new", 'log_level = "debug"\ntranslation_cache_bytes = 0\n')
        machine.send_signal(signal.SIGHUP)
        _wait(lambda: "configuration reloaded" in log.read_text())
        (line,) = [each for each in map(json.loads, log.read_text().splitlines()) if "needs_restart" in each]
        assert line["changed"] == ["broker", "log_level"]
        assert line["needs_restart"] == ["translation_cache_bytes"]
        rabbitmq.control("close_all_connections", "the test closes them")
        _wait(lambda: log.read_text().count("broker connected") == 2)
        assert client.run(BELL, device="IBM/aer_simulator", shots=100).result().shots == 100
        configure("new", "broker_ca = 7\n")
        machine.send_signal(signal.SIGHUP)
        _wait(lambda: "configuration not reloaded" in log.read_text())
        assert machine.poll() is None


def test_a_server_adopts_a_new_password_of_the_broker(rabbitmq: RabbitmqBroker, tmp_path: Path) -> None:
    name, file, log = f"user{secrets.token_hex(4)}", tmp_path / "server.toml", tmp_path / "server.jsonl"

    def configure(password: str, host: str = "") -> None:
        url = rabbitmq.url().replace("guest:guest", f"{name}:{password}") + host
        file.write_text(f'broker = "{url}"\nexecutor = "celery"\nproviders = ["IBM"]\n')
        file.chmod(0o600)

    def reloaded(server: Server, number: int) -> Any:
        server.process.send_signal(signal.SIGHUP)
        return log_lines(server, lambda line: line["event"] == "configuration reloaded", number)[-1]

    rabbitmq.control("add_user", name, "old")
    rabbitmq.control("set_permissions", name, ".*", ".*", ".*")
    configure("old")
    with ExitStack() as ends:
        command = (*SERVE, "--config", str(file))
        server = ends.enter_context(serving(f"sqlite:///{tmp_path / 'q.sqlite3'}", log=log, command=command))
        client = ends.enter_context(qonduit_client.Client(server.target))
        ends.enter_context(working(rabbitmq.url()))
        _wait(lambda: bool(client.named_devices("available = true")))
        rabbitmq.control("change_password", name, "new")
        configure("new", host="x")
        line = reloaded(server, 1)
        assert (line["changed"], line["needs_restart"]) == ([], ["broker"])
        configure("new")
        line = reloaded(server, 2)
        assert (line["changed"], line["needs_restart"]) == (["broker"], [])
        rabbitmq.control("close_all_connections", "the test closes them")
        log_lines(server, lambda line: line["event"] == "broker connected", 2)
        assert client.run(BELL, device="IBM/aer_simulator", shots=100).result().shots == 100


def test_a_server_starts_without_its_broker_and_its_log_contains_the_cause_once(tmp_path: Path) -> None:
    log, broker = tmp_path / "log.jsonl", "amqp://127.0.0.1:1/"
    # `serving` reads the first line of standard output, which is that the server serves.
    with serving(
        f"sqlite:///{tmp_path / 'q.sqlite3'}", log=log, executor="celery", broker=broker, providers="IBM"
    ) as it:
        (line,) = log_lines(it, lambda line: line["event"] == "broker away")
        assert line["broker"] == "amqp://guest:**@127.0.0.1:1//"
        assert "Connection refused" in line["why"]
        with qonduit_client.Client(it.target) as client:
            assert client.info().version
        assert len(log_lines(it, lambda line: line["event"] == "broker away")) == 1


def test_the_doctor_uses_the_broker_as_a_server_does(rabbitmq: RabbitmqBroker, tmp_path: Path) -> None:
    name = f"user{secrets.token_hex(4)}"
    rabbitmq.control("add_user", name, "secret")
    url = rabbitmq.url().replace("guest:guest", f"{name}:secret")

    def found(broker: str) -> list[dict[str, str]]:
        settings = {"EXECUTOR": "celery", "BROKER": broker, "PROVIDERS": "IBM", "TRANSLATION_CACHE_BYTES": "0"}
        done = subprocess.run(
            [sys.executable, "-m", "qonduit_server", "doctor", "--json"],
            env=os.environ | {f"QONDUIT_{key}": value for key, value in settings.items()},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        return [line for line in lines if "broker" in line["what"]]

    (missing,) = found(url)
    assert missing["level"] == "error"
    assert "access to vhost" in missing["what"]
    assert "secret" not in missing["what"]
    rabbitmq.control("set_permissions", name, "^other$", ".*", ".*")
    assert "access to exchange 'qonduit.machines'" in found(url)[0]["what"]
    # The permissions that docs/worker-machines.md names.
    rabbitmq.control("set_permissions", name, r"^qonduit\.", r"^(qonduit\.|amq\.default$)", r"^qonduit\.")
    assert [line["level"] for line in found(url)] == ["ok"]


def test_machines_of_another_release_are_shown(
    rabbitmq: RabbitmqBroker, tmp_path: Path, serve: Callable[[str], object]
) -> None:
    older = (
        "import qonduit_server.process.release as release; release.installed_release = lambda: '0.0.9'; "
        "from qonduit_server.cli import main; main(['worker'])"
    )
    with ExitStack() as ends:
        server: Server = ends.enter_context(serve(f"sqlite:///{tmp_path / 'q.sqlite3'}"))  # type: ignore[arg-type]
        client = ends.enter_context(qonduit_client.Client(server.target))
        ends.enter_context(working(rabbitmq.url(), "IBM", command=(sys.executable, "-c", older)))
        ends.enter_context(working(rabbitmq.url(), "STIM"))
        _wait(lambda: {each.provider for each in client.workers()} == {"IBM", "STIM"})
        here = client.info().version
        assert {each.provider: each.release for each in client.workers()} == {"IBM": "0.0.9", "STIM": here}
        assert client.run(BELL, device="IBM/aer_simulator", shots=100).result().shots == 100
        code, listed, _ = qonduit(server, "workers")
        assert code == 0
        assert "RELEASE" in listed
        assert "0.0.9" in listed
        settings = {"EXECUTOR": "celery", "BROKER": rabbitmq.url(), "PROVIDERS": "IBM,STIM"}
        settings |= {"DATABASE": f"sqlite:///{tmp_path / 'doctor.sqlite3'}", "TRANSLATION_CACHE_BYTES": "0"}
        found = subprocess.run(
            [sys.executable, "-m", "qonduit_server", "doctor"],
            env=os.environ | {f"QONDUIT_{name}": value for name, value in settings.items()},
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        assert re.search(rf"warning  worker machine \S+ runs release 0\.0\.9, not {re.escape(here)}\n", found)


def test_a_machine_must_have_the_time_to_end() -> None:
    done = subprocess.run(
        [*WORK, "--broker", "amqp://127.0.0.1:1", "--end-time", str(int(time.time()) + 35), "--drain-seconds", "30"],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 1
    assert re.fullmatch(
        r"qonduit: the machine must end in -?\d+ s, and to end takes up to 40 s: set a later --end-time, or shorten "
        r"drain_seconds\n",
        done.stderr,
    )


def test_a_worker_that_may_not_receive_tasks_ends(rabbitmq: RabbitmqBroker) -> None:
    name = f"user{secrets.token_hex(4)}"
    rabbitmq.control("add_user", name, "secret")
    # It may use the queue of requests, but not that of tasks.
    allowed = r"^qonduit\.(machines|requests.*)$"
    rabbitmq.control("set_permissions", name, allowed, allowed, allowed)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "qonduit_server",
            "worker",
            "--broker",
            rabbitmq.url().replace("guest:guest", f"{name}:secret"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 1
    assert "ACCESS_REFUSED" in done.stderr
    assert "the worker stopped because it can receive no tasks; see the log" in done.stderr
