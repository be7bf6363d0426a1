# SPDX-License-Identifier: Apache-2.0
"""An operator sees, changes and cancels the jobs of all users on the command line; an admin sets shares."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Final, NamedTuple

import pytest

from qonduit.v1.job_pb2 import JobState
from qonduit_client import Client
from qonduit_client.errors import NotFound, PreconditionFailed, Refused
from qonduit_server.rpc.auth import token_file
from qonduit_server.rpc.auth.principal import Role
from tests.both_clients import BOTH_CLIENTS, Connect
from tests.command_line import qonduit
from tests.contract.rpc_fixture import BELL
from tests.server_process import serving

DEVICE: Final = "IBM/aer_simulator"
PEOPLE: Final = {"anna": Role.USER, "ben": Role.USER, "olga": Role.OPERATOR, "adam": Role.ADMIN}


class Served(NamedTuple):
    target: str
    tokens: dict[str, str]

    def client(self, name: str) -> Client:
        return Client(self.target, token=self.tokens[name])

    def cli(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return qonduit("--server", self.target, *arguments, QONDUIT_TOKEN=self.tokens[name])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve with tokens; the server is paused, so that jobs wait."""
    folder = tmp_path_factory.mktemp("operators")
    tokens = {name: token_file.create(folder / "tokens", name, role, None)[0] for name, role in PEOPLE.items()}
    settings = {"providers": "IBM", "token_file": str(folder / "tokens")}
    with serving(f"sqlite:///{folder / 'q.sqlite3'}", **settings) as server:
        one = Served(server.target, tokens)
        with one.client("olga") as client:
            client.pause("server")
        yield one


def test_an_operator_lists_and_cancels_the_jobs_of_a_user(served: Served) -> None:
    with served.client("anna") as anna, served.client("ben") as ben:
        job, other = anna.run(BELL, DEVICE, labels={"set": "cancel"}), ben.run(BELL, DEVICE, labels={"set": "cancel"})
        shown = served.cli("olga", "jobs", "--all", "--label", "set=cancel").stdout
        assert "USER" in shown
        assert "anna" in shown
        assert "ben" in shown
        of_anna = served.cli("olga", "jobs", "--owner", "anna", "--label", "set=cancel", "--json").stdout
        assert [json.loads(line)["id"] for line in of_anna.splitlines()] == [job.id]
        assert served.cli("olga", "jobs", "--json").stdout == ""  # her own jobs
        assert served.cli("ben", "jobs", "--owner", "anna", "--json").stdout == ""
        assert "0 jobs" in served.cli("ben", "cancel", "--owner", "anna").stdout
        assert "1 job cancelled" in served.cli("olga", "cancel", "--owner", "anna", "--label", "set=cancel").stdout
        assert job.job().state == JobState.JOB_STATE_CANCELLED
        assert other.job().state == JobState.JOB_STATE_QUEUED
        assert served.cli("olga", "cancel", str(other.id)).returncode == 0
        assert other.job().state == JobState.JOB_STATE_CANCELLED
        assert "0 jobs" in served.cli("olga", "delete", "--owner", "anna", "--label", "set=cancel").stdout
        assert "1 job deleted" in served.cli("adam", "delete", "--owner", "anna", "--label", "set=cancel").stdout


@pytest.mark.parametrize("connect", BOTH_CLIENTS.values(), ids=BOTH_CLIENTS)
def test_an_operator_moves_a_job_to_the_front_and_its_owner_sees_it(served: Served, connect: Connect) -> None:
    with served.client("anna") as anna, connect(served.target, token=served.tokens["olga"]) as olga:
        job = anna.run(BELL, DEVICE)
        changed = olga.job(job.id).update(name="urgent", schedule={"priority": 5})
        assert (changed.priority, changed.name, changed.executed_by) == (5, "urgent", "anna")
        events = job.events(timeout=60)
        assert [next(events).WhichOneof("event") for _ in range(2)] == ["created", "updated"]
        shown = served.cli("anna", "update", str(job.id), "--priority", "-3", "--label", "a=b", "--json").stdout
        assert (json.loads(shown)["priority"], json.loads(shown)["labels"]) == (-3, {"a": "b"})
        assert served.cli("ben", "update", str(job.id), "--priority", "3").returncode == 3
        assert served.cli("anna", "update", str(job.id)).returncode == 2
        with served.client("ben") as ben, pytest.raises(NotFound):
            ben.job(job.id).update(name="mine")
        job.cancel()
        with pytest.raises(PreconditionFailed):
            olga.job(job.id).update(name="late")


@pytest.mark.parametrize("connect", BOTH_CLIENTS.values(), ids=BOTH_CLIENTS)
def test_an_admin_sets_a_share_and_an_operator_lists_it(served: Served, connect: Connect) -> None:
    with served.client("anna") as anna:
        job = anna.run(BELL, DEVICE)
    with connect(served.target, token=served.tokens["adam"]) as adam:
        assert adam.set_share("IBM", "anna", 2.5).weight == 2.5
        (share,) = [each for each in adam.shares("IBM") if each.owner == "anna"]
        assert (share.weight, share.queued_jobs >= 1) == (2.5, True)
        assert "anna" in repr(adam.shares())
        with pytest.raises(NotFound):
            adam.shares("NONE")
    listed = served.cli("olga", "share", "list").stdout
    assert "2.5" in listed
    assert served.cli("olga", "share", "set", "IBM", "anna", "3").returncode == 4
    assert "3" in served.cli("adam", "share", "set", "IBM", "anna", "3").stdout
    assert served.cli("adam", "share", "set", "IBM", "anna", "0").returncode == 2
    with served.client("anna") as anna:
        with pytest.raises(Refused):
            anna.shares()
        anna.job(job.id).cancel()
