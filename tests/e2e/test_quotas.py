# SPDX-License-Identifier: Apache-2.0
"""Quotas and usage on a real server: by the command line, by both clients, with users and an admin."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from qonduit.v1.job_pb2 import JobState, QueueReason
from qonduit_client import Client, LimitExceeded, NotFound, Refused
from tests.both_clients import Connect, asynchronous
from tests.command_line import qonduit
from tests.server_process import Server, serving

BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'
DEVICE = "IBM/aer_simulator"
WAIT = 120


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    file = str(tmp_path_factory.mktemp("tokens") / "tokens.json")
    roles = {"anna": "user", "ben": "user", "adam": "admin"}
    found = {
        name: qonduit("token", "create", name, "--role", role, "--token-file", file).stdout.strip()
        for name, role in roles.items()
    }
    return {**found, "file": file}


@pytest.fixture(scope="module")
def server(database: str, tokens: dict[str, str]) -> Iterator[Server]:
    with serving(
        database,
        providers="IBM",
        preload="IBM",
        workers="2",
        token_file=tokens["file"],
        default_quotas="open_streams=50,queued_jobs=40",
    ) as running:
        yield running


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('quotas') / 'q.sqlite3'}"
        return
    postgresql = request.getfixturevalue("postgresql")
    name = postgresql.new_database()
    yield postgresql.url(name)
    postgresql.drop_database(name)


def test_held_jobs_of_one_user_start_when_the_admin_allows_it(server: Server, tokens: dict[str, str]) -> None:
    with (
        Client(server.target, token=tokens["anna"]) as anna,
        Client(server.target, token=tokens["ben"]) as ben,
        Client(server.target, token=tokens["adam"]) as adam,
    ):
        adam.set_quota("anna", running_jobs=0)
        held = anna.run(BELL, DEVICE, 100)
        assert ben.run(BELL, DEVICE, 100).result(timeout=WAIT).counts
        job = held.job()
        assert job.state == JobState.JOB_STATE_QUEUED
        assert job.queue.reason == QueueReason.QUEUE_REASON_QUOTA
        assert (
            "a quota of its owner is used up"
            in qonduit("job", str(held.id), QONDUIT_TOKEN=tokens["anna"], QONDUIT_SERVER=server.target).stdout
        )
        adam.set_quota("anna", running_jobs=1)
        others = [anna.run(BELL, DEVICE, 100) for _ in range(5)]
        for each in (held, *others):
            # One after the other: the end of each lets the next one start.
            assert sum(each.result(timeout=WAIT).counts.values()) == 100
        adam.set_quota("anna", running_jobs=None)
        assert adam.quota("anna").limits.ByteSize() == 0


@pytest.mark.parametrize("connect", [Client, asynchronous], ids=["blocking", "asyncio"])
def test_quotas_and_usage_by_both_clients(server: Server, tokens: dict[str, str], connect: Connect) -> None:
    with (
        connect(server.target, token=tokens["anna"]) as anna,
        connect(server.target, token=tokens["adam"]) as adam,
    ):
        before = sum(row.shots for row in anna.usage(()))
        assert anna.run(BELL, DEVICE, 250).result(timeout=WAIT).counts
        (row,) = anna.usage(())
        assert row.shots == before + 250
        assert row.worker_seconds > 0
        rows = anna.usage(("device", "day"), since="2020-01-01")
        assert {each.device for each in rows} == {DEVICE}
        assert "worker seconds" in repr(rows)
        with pytest.raises(NotFound):
            anna.usage(owner="ben")
        with pytest.raises(ValueError, match="usage is grouped by owner, user, device, day, got 'week'"):
            anna.usage("week")
        with pytest.raises(Refused):
            anna.set_quota("anna", queued_jobs=10**6)
        with pytest.raises(ValueError, match="quotas are queued_jobs, "):
            adam.set_quota("anna", qubits=3)
        assert adam.set_quota("anna", shots_per_day=1).effective.open_streams == 50
        with pytest.raises(LimitExceeded, match="quota shots_per_day of anna reached") as raised:
            anna.run(BELL, DEVICE, 250)
        assert raised.value.reason == "QUOTA_EXCEEDED"
        assert [each.owner for each in adam.quotas()] == ["anna"]
        assert "shots_per_day=1" in repr(adam.quotas())
        adam.set_quota("anna", shots_per_day=None)
        assert anna.quota().used.stored_bytes > 0


def test_quotas_and_usage_by_the_command_line(server: Server, tokens: dict[str, str]) -> None:
    def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return qonduit(*arguments, QONDUIT_TOKEN=tokens[name], QONDUIT_SERVER=server.target)

    assert run("ben", "run", "--device", DEVICE, "-", "--shots", "100").returncode != 0  # no program
    with Client(server.target, token=tokens["ben"]) as ben:
        ben.run(BELL, DEVICE, 100).result(timeout=WAIT)
    done = run("adam", "quota", "set", "ben", "queued_jobs=7", "stored_bytes=1048576", "shots_per_day=unlimited")
    assert done.returncode == 0, done.stderr
    assert "1 MiB" in done.stdout
    shown = run("ben", "quota", "show")
    lines = {line.split()[0]: line for line in shown.stdout.splitlines() if line}
    assert lines["queued_jobs"].split() == ["queued_jobs", "0", "7", "owner"]
    assert lines["open_streams"].split()[1:] == ["0", "50", "default"]
    assert "unlimited" in lines["shots_per_day"]
    found = json.loads(run("ben", "quota", "show", "--output", "json").stdout)
    assert found["limits"]["queued_jobs"] in (7, "7")
    assert run("ben", "quota", "show", "anna").returncode == 3
    assert run("ben", "quota", "list").returncode == 4
    listed = run("adam", "quota", "list", "--output", "csv").stdout
    assert {row["owner"]: row["queued_jobs"] for row in csv.DictReader(io.StringIO(listed))} == {"ben": "7"}
    assert "a limit is NAME=NUMBER" in run("adam", "quota", "set", "ben", "queued_jobs=-5").stderr
    assert "quotas are queued_jobs" in run("adam", "quota", "set", "ben", "qubits=5").stderr
    assert (
        run(
            "adam", "quota", "set", "ben", "queued_jobs=default", "stored_bytes=default", "shots_per_day=default"
        ).returncode
        == 0
    )
    assert "no quotas" in run("adam", "quota", "list").stdout
    table = run("ben", "usage", "--since", "7d", "--by", "device").stdout
    assert DEVICE in table
    assert "WORKER SECONDS" in table
    rows = list(csv.DictReader(io.StringIO(run("adam", "usage", "--by", "owner", "--csv").stdout)))
    assert {"ben"} <= {row["owner"] for row in rows} <= {"anna", "ben"}
    assert all(int(row["stored_bytes"]) > 0 for row in rows)
    assert "no job has ended" in run("ben", "usage", "--since", "2030-01-01").stdout
    assert "expected a duration" in run("ben", "usage", "--since", "soon").stderr


def test_a_wrong_default_stops_the_start(tmp_path: Path) -> None:
    done = qonduit("serve", "--database", f"sqlite:///{tmp_path / 'q.sqlite3'}", "--default-quotas", "queued_jobs=many")
    assert done.returncode == 1
    assert (
        "default_quotas must be NAME=NUMBER,NAME=NUMBER with integers of at least 0, got queued_jobs=many"
        in done.stderr
    )
