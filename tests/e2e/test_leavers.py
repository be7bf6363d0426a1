# SPDX-License-Identifier: Apache-2.0
"""A user leaves while a real server runs: no access from the next call on; the work is handed over or deleted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qonduit_client import Client
from qonduit_client.errors import Refused
from tests.benchmarks.programs import BELL
from tests.both_clients import asynchronous
from tests.command_line import output_of
from tests.server_process import serving

LONG = "OPENQASM 3.0;\nqubit[21] q;\nfor int k in [1:4000] { for int i in [0:19] { U(k, 0, 0) q[i]; } }\n"


def test_a_user_leaves_while_the_server_runs(tmp_path: Path) -> None:
    database, file = f"sqlite:///{tmp_path / 'q.sqlite3'}", str(tmp_path / "tokens.json")
    tokens = {
        name: output_of("token", "create", name, "--role", role, "--token-file", file).strip()
        for name, role in (("anna", "user"), ("ben", "user"), ("adam", "admin"))
    }
    with serving(database, providers="IBM", token_file=file, workers="2") as server:
        with Client(server.target, token=tokens["anna"]) as anna:
            done = anna.run(BELL, "IBM/aer_simulator", 100)
            done.result(timeout=120)
            running = anna.run(LONG, "IBM/aer_simulator", 100)
            output_of("token", "revoke", "--all-of", "anna", "--token-file", file, QONDUIT_DATABASE=database)
            with pytest.raises(Refused, match="revoked"):
                anna.job(done.id).job()
        assert "anna is denied" in output_of("token", "create", "anna", "--token-file", file, code=1)

        exported = output_of("user", "export", "anna", "--to", str(tmp_path / "out"), "--database", database)
        assert "2 jobs" in exported
        assert "OPENQASM" in (tmp_path / "out" / "deployments.jsonl").read_text()

        assert "would hand 2 deployments, 2 jobs" in output_of(
            "adopt", "anna", "--to", "ben", "--dry-run", "--database", database
        )
        assert "handed 2 deployments, 2 jobs" in output_of("adopt", "anna", "--to", "ben", "--database", database)
        with Client(server.target, token=tokens["ben"]) as ben:
            assert sum(ben.job(done.id).result(timeout=120).counts.values()) == 100
            ben.job(running.id).cancel()
            ben.job(running.id).wait(timeout=120)
            assert {job.executed_by for job in ben.jobs()} == {"ben"}

        wanted = 'method = "qonduit*"'
        with (
            Client(server.target, token=tokens["adam"]) as adam,
            asynchronous(server.target, token=tokens["adam"]) as other,
        ):
            found = list(adam.audit_entries(wanted, order_by="time"))
            assert list(other.audit_entries(wanted, order_by="time")) == found
            assert "token revoke" in repr(adam.audit_entries(wanted))
            listed = output_of(
                "audit", "list", "--limit", "3", QONDUIT_SERVER=server.target, QONDUIT_TOKEN=tokens["adam"]
            )
        named = [(entry.authentication, entry.method.removeprefix("qonduit "), entry.object) for entry in found]
        assert named[0] == ("command", "token revoke", "users/anna")
        assert ("command", "adopt", f"jobs/{done.id}") in named
        assert ("command", "user export", "") in named
        assert "AuditService/ListAuditEntries" in listed

        assert "would delete 2 deployments, 2 jobs" in output_of(
            "user", "delete", "ben", "--dry-run", "--database", database
        )
        assert "deleted 2 deployments, 2 jobs" in output_of("user", "delete", "ben", "--vacuum", "--database", database)
        with Client(server.target, token=tokens["ben"]) as ben:
            assert list(ben.jobs()) == []
            assert sum(ben.run(BELL, "IBM/aer_simulator", 100).result(timeout=120).counts.values()) == 100
        entries = [json.loads(line) for line in output_of("audit", "export", "--database", database).splitlines()]
        assert {entry["outcome"] for entry in entries} >= {"OK", "TOKEN_REVOKED"}
        verified = output_of("audit", "verify", "--database", database)
        assert f"{len(entries)} entries" in verified
        assert "correct" in verified
        kept = verified.splitlines()[-1]
        assert "correct" in output_of("audit", "verify", "--kept", kept, "--database", database)
        assert "faulty" in output_of(
            "audit", "verify", "--kept", f"{kept[:-64]}{'0' * 64}", "--database", database, code=1
        )


def test_the_jobs_of_a_user_that_run_are_deleted_after_their_end(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    with serving(database, providers="IBM", workers="1") as server, Client(server.target) as client:
        job = client.run(LONG, "IBM/aer_simulator", 100)
        next(event for event in job.events() if event.WhichOneof("event") == "state_change")
        refused = output_of("user", "delete", "anonymous", "--database", database, code=1)
        assert "1 jobs still run and were cancelled; run the command again" in refused
        job.wait(timeout=120)
        assert "deleted 1 deployments, 1 jobs" in output_of("user", "delete", "anonymous", "--database", database)


def test_a_command_does_not_create_or_upgrade_a_database(tmp_path: Path) -> None:
    missing = f"sqlite:///{tmp_path / 'none.sqlite3'}"
    for command in (("audit", "verify"), ("audit", "export"), ("user", "delete", "a"), ("adopt", "a", "--to", "b")):
        assert "does not exist" in output_of(*command, "--database", missing, code=1)
    assert not (tmp_path / "none.sqlite3").exists()
    assert "must be a time" in output_of("audit", "export", "--since", "yesterday", "--database", missing, code=2)
