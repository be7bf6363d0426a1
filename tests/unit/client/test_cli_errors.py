# SPDX-License-Identifier: Apache-2.0
"""Every error of the command line names the next step."""

# ruff: noqa: E501 (a case a line)

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner, Result
from google.rpc import error_details_pb2 as details

from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit_client.cli.commands import qonduit
from qonduit_client.cli.error_messages import after_failure, did_you_mean, exit_code, explain, worst
from qonduit_client.errors import BY_STATUS, ProgramUnreadable, QonduitError, ServerFault
from tests.unit.client.peer import BELL, FAILED, Peer, Refusal, history

Code = grpc.StatusCode


def call(peer: Peer, *arguments: str, text: str | None = None) -> Result:
    """Run `qonduit` against the peer."""
    return CliRunner().invoke(qonduit, ["--server", peer.target, *arguments], input=text)


def missing(kind: str, name: str) -> Refusal:
    """Return the server's error for a missing object."""
    about = details.ResourceInfo(resource_type=kind, resource_name=name)
    return Refusal(Code.NOT_FOUND, f"{kind} {name} does not exist", "NOT_FOUND", further=[about])


def invalid(field: str, description: str, reason: str = "INVALID_FIELD") -> Refusal:
    """Return the server's error for an invalid field."""
    bad = details.BadRequest()
    bad.field_violations.add(field=field, reason="r", description=description)
    return Refusal(Code.INVALID_ARGUMENT, description, reason, further=[bad])


#: The arguments, the server's response, the exit code, and the next step shown.
CASES: dict[str, tuple[list[str], Refusal | None, int, str]] = {
    "no such device": (["run", "-", "--device", "IBM/aer"], missing("device", "IBM/aer"), 3, "did you mean --device IBM/aer_simulator?"),
    "a device without its provider": (["run", "-", "--device", "aer_simulator"], missing("device", "x"), 3, "did you mean --device IBM/aer_simulator?"),
    "a device like no other": (["run", "-", "--device", "q"], missing("device", "q"), 3, "devices: IBM/aer_simulator"),
    "no such job": (["job", "9"], missing("job", "9"), 3, "`qonduit jobs`"),
    "no such deployment": (["run", "--deployment", "9"], missing("deployment", "9"), 3, "`qonduit deployments`"),
    "no shots": (["run", "-", "--shots", "0"], invalid("job.shots", "job.shots: must be at least 1"), 4, "--shots"),
    "a filter": (["jobs", "--filter", "x"], invalid("filter", "filter: no", "INVALID_FILTER"), 4, "deployment_id = 7"),
    "a request id that was used": (["run", "-"], Refusal(Code.ALREADY_EXISTS, "used", "REQUEST_ID_REUSED"), 4, "another --request-id"),
    "a full queue": (["run", "-"], Refusal(Code.RESOURCE_EXHAUSTED, "full", "LIMIT_EXCEEDED", 2), 4, "retry in 2 s"),
    "a limit": (["run", "-"], Refusal(Code.RESOURCE_EXHAUSTED, "too much", "LIMIT_EXCEEDED"), 4, "`qonduit info`"),
    "a device that cannot": (["run", "-"], Refusal(Code.FAILED_PRECONDITION, "no", "UNSUPPORTED_BY_DEVICE"), 4, "`qonduit devices`"),
    "a state that does not allow it": (["delete", "7"], Refusal(Code.FAILED_PRECONDITION, "it runs", "FAILED_PRECONDITION"), 4, "`qonduit job JOB`"),
    "who are you": (["jobs"], Refusal(Code.UNAUTHENTICATED, "who?"), 4, "QONDUIT_TOKEN"),
    "you may not": (["jobs"], Refusal(Code.PERMISSION_DENIED, "no"), 4, "operator"),
    "a server that stops": (["delete", "7"], Refusal(Code.UNAVAILABLE, "stopping", "DRAINING"), 5, "retry after its restart"),
    "a database that is away": (["delete", "7"], Refusal(Code.UNAVAILABLE, "away", "STORE_UNAVAILABLE"), 5, "qonduit doctor"),
    "a fault": (["job", "7"], Refusal(Code.INTERNAL, "internal error"), 5, "report this message"),
    "an older server": (["job", "7"], Refusal(Code.UNIMPLEMENTED, "unknown method"), 5, "`qonduit info`"),
    "no such command": (["wacth"], None, 2, "Did you mean watch?"),
    "a command like no other": (["xyzzy"], None, 2, "`qonduit --help`"),
    "no such option": (["run", "--devise", "x"], None, 2, "--device"),
    "no such state": (["jobs", "--state", "asleep"], None, 2, "succeeded"),
    "nothing to watch": (["watch"], None, 2, "`qonduit jobs`"),
    "jobs and --running": (["watch", "7", "--running"], None, 2, "--running"),
    "nothing to run": (["run"], None, 2, "pass program files"),
    "a file that is not there": (["run", "FOLDER/bel.qasm"], None, 2, "did you mean FOLDER/bell.qasm?"),
    "a file in no folder": (["run", "FOLDER/no/such"], None, 2, "check the folder"),
    "a folder for a file": (["run", "FOLDER"], None, 2, "pass the files in it"),
    "a language that is not recognized": (["run", "FOLDER/what.xyz"], None, 4, "--language"),
    "no such language": (["run", "FOLDER/bell.qasm", "--language", "QASM"], None, 4, "QASM2"),
    "a file that is no text": (["run", "FOLDER/bytes.qasm", "--language", "QASM2"], None, 4, "--language"),
    "an invalid input": (["run", "-", "--input", "theta"], None, 2, "NAME=VALUE"),
    "an invalid token": (["--token", "two words", "jobs"], None, 2, "--token-file"),
    "a file of a token that is not there": (["--token-file", "FOLDER/no", "jobs"], None, 2, "pass a file that contains the token"),
    "a file of certificates that is not there": (["--tls-ca", "FOLDER/no", "jobs"], None, 2, "--tls-ca"),
    "a file of certificates that holds none": (["--tls-ca", "FOLDER/bell.qasm", "jobs"], None, 2, "--tls-ca"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_every_error_ends_with_a_next_step(peer: Peer, tmp_path: Path, case: str) -> None:
    arguments, refusal, code, step = CASES[case]
    (tmp_path / "bell.qasm").write_text(BELL)
    (tmp_path / "what.xyz").write_text("who knows")
    (tmp_path / "bytes.qasm").write_bytes(b"\xff\xfe")
    if refusal is not None:
        peer.refusals.append(refusal)
    text = BELL if "-" in arguments else ""
    done = call(peer, *(each.replace("FOLDER", str(tmp_path)) for each in arguments), text=text)
    assert done.exit_code == code, done.output
    assert step.replace("FOLDER", str(tmp_path)) in done.stderr
    assert "Traceback" not in done.output


def test_no_server() -> None:
    done = CliRunner().invoke(qonduit, ["--server", "127.0.0.1:1", "jobs"])
    assert done.exit_code == 5
    assert "start one with `qonduit serve`, or pass --server HOST:PORT" in done.stderr


@pytest.mark.parametrize("status", [*BY_STATUS, "INTERNAL", "UNIMPLEMENTED", "DATA_LOSS"])
def test_every_status_has_its_own_next_step(status: str) -> None:
    error = BY_STATUS.get(status, ServerFault)("what happened", status=status)
    lines = explain(error, "127.0.0.1:50051").splitlines()
    assert "what happened" in lines[0]
    # The next step for a field, a name or a state depends on which one it is: the cases above.
    assert len(lines) == 2 or exit_code(error) in (3, 4)
    assert exit_code(error) in (3, 4, 5, 124)


@pytest.mark.parametrize("category", [each for each in FailureCategory.values() if each])
def test_every_failure_has_a_next_step(category: FailureCategory) -> None:
    assert after_failure(Failure(category=category, reason="NEW"), 12)
    assert "JOB" not in after_failure(Failure(category=category, reason="NEW"), 12)


def test_a_failed_job_shows_the_next_step(peer: Peer) -> None:
    peer.events, peer.results = history(FAILED), []
    done = call(peer, "watch", "7")
    assert done.exit_code == 1
    assert "fix the program" in done.stderr


def test_suggestions() -> None:
    known = ["IBM/aer_simulator", "GOOGLE/cirq_simulator", "AWS/local_simulator"]
    assert did_you_mean("aer_simulator", known) == ["IBM/aer_simulator"]
    assert did_you_mean("ibm/AER_SIMULATOR", known)[0] == "IBM/aer_simulator"
    assert did_you_mean("", known) == []
    assert did_you_mean("x" * 100_000, known) == []


def test_the_worst_of_several_codes() -> None:
    assert worst([]) == 0
    assert worst([0, 6, 1]) == 1
    assert worst([1, 3, 5, 4]) == 5


def test_notes_replace_the_next_step() -> None:
    error = ProgramUnreadable("no", reason="NOT_TEXT")
    error.add_note("send text")
    assert explain(error, "x").splitlines() == ["no", "send text"]
    assert explain(QonduitError("only that"), "x") == "only that"
