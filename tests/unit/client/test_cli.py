# SPDX-License-Identifier: Apache-2.0
"""The command line reports outcomes in text and exit codes, for people and for programs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner, Result
from google.rpc import error_details_pb2 as details

from qonduit_client.cli.commands import qonduit
from qonduit_client.input_values import struct_of
from tests.unit.client.peer import AWAY, BELL, CANCELLED, FAILED, JOB, Peer, Refusal, Stream, counted, history

Code = grpc.StatusCode


@pytest.fixture
def bell(tmp_path: Path) -> str:
    """Return a file with a Bell program."""
    path = tmp_path / "bell.qasm"
    path.write_text(BELL)
    return str(path)


def call(peer: Peer, *arguments: str, text: str | None = None) -> Result:
    """Run `qonduit` against the peer."""
    return CliRunner().invoke(qonduit, ["--server", peer.target, *arguments], input=text)


def objects(result: Result) -> list[dict[str, object]]:
    """Return the JSON objects on standard output, one per line."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_run_in_a_pipe(peer: Peer, bell: str) -> None:
    peer.streams.append(Stream(send=3, refusal=AWAY))
    done = call(peer, "run", bell, "--device", "AWS/local_simulator", "--shots", "50", "--seed", "3", "--name", "n")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert [line.split()[:4] for line in lines[:3]] == [
        ["0.000", "s", "created", "AWS/local_simulator"],
        ["0.050", "s", "running"],
        ["0.100", "s", "program", "program"],
    ]
    assert lines[5].split()[:3] == ["0.250", "s", "succeeded"]
    assert lines[7] == f"{bell}: 1000 shots, 2 outcomes of c[2]"
    assert lines[8].split()[:3] == ["0x0", "507", "50.7%"]
    assert "█" in lines[9]
    assert "\x1b" not in done.stdout
    request = peer.created[0]
    assert (request.device, request.job.shots, request.job.seed, request.job.name) == (
        "AWS/local_simulator",
        50,
        3,
        "n",
    )


def test_run_with_a_method_and_noise(peer: Peer, bell: str, tmp_path: Path) -> None:
    file = tmp_path / "noise.json"
    file.write_text('{"readout_errors": [{"prob_0_given_1": 0.25}]}')
    flags = ["--method", "matrix_product_state", "--precision", "single", "--max-bond-dimension", "64"]
    flags += ["--allow-approximate", "--min-fidelity", "0.8", "--optimization-level", "0", "--noise-model", str(file)]
    assert call(peer, "run", bell, *flags).exit_code == 0
    job = peer.created[0].job
    assert (job.simulation.method, job.simulation.floating_point) == ("matrix_product_state", "single")
    assert (job.simulation.max_bond_dimension, job.simulation.min_fidelity) == (64, 0.8)
    assert job.simulation.HasField("optimization_level")
    assert job.simulation.allow_approximate
    assert job.noise_model.readout_errors[0].prob_0_given_1 == 0.25
    assert call(peer, "run", bell).exit_code == 0
    assert not peer.created[1].job.HasField("simulation")
    file.write_text("{")
    done = call(peer, "run", bell, "--noise-model", str(file))
    assert done.exit_code == 2
    assert "invalid JSON" in done.stderr


@pytest.mark.parametrize(
    ("meta_data", "ending"),
    [
        ({"method": "stabilizer", "approximate": False}, ", stabilizer"),
        (
            {"method": "mps", "approximate": True, "discarded_weight": 1.23456e-5, "fidelity_bound": 0.98765},
            ", mps, approximate: discarded weight 1.235e-05, fidelity at least 0.9877",
        ),
        ({}, ""),
    ],
)
def test_method_of_a_result(peer: Peer, bell: str, meta_data: dict[str, object], ending: str) -> None:
    peer.results[0].meta_data.update(meta_data)
    assert f"{bell}: 1000 shots, 2 outcomes of c[2]{ending}" in call(peer, "run", bell).stdout.splitlines()


def test_run_with_json(peer: Peer, bell: str) -> None:
    for arguments in (("--json", "run", bell), ("run", bell, "--json")):
        done = call(peer, *arguments)
        assert done.exit_code == 0
        *events, final = objects(done)
        assert [event["event"]["sequence"] for event in events] == [1, 2, 3, 4, 5, 6]  # type: ignore[index]
        assert final["job"]["state"] == "JOB_STATE_SUCCEEDED"  # type: ignore[index]
        assert final["results"][0]["counts_and_probabilities"]["counts"] == {"0x0": 507, "0x3": 493}  # type: ignore[index]
        assert final["results"][0]["shots"] == 1000  # type: ignore[index]


def test_run_of_several_programs_and_of_standard_input(peer: Peer, bell: str) -> None:
    assert call(peer, "run", bell, "-", text="OPENQASM 3; qubit q;").exit_code == 0
    assert [program.assembler_language for program in peer.created[0].deployment.programs] == [1, 2]
    assert peer.created[0].job.name == "bell.qasm"


def test_run_detached(peer: Peer, bell: str) -> None:
    done = call(peer, "run", bell, "--detach")
    assert (done.exit_code, done.stdout) == (0, "7\n")
    assert peer.watched == []
    assert objects(call(peer, "run", bell, "--detach", "--json"))[0]["job"]["id"] == JOB  # type: ignore[index]


def test_run_with_a_request_id_that_was_used(peer: Peer, bell: str) -> None:
    arguments = ("run", bell, "--request-id", "6a2a3b1e-0f0c-4d3a-9a55-0d8f3f0f3c11")
    assert call(peer, *arguments).stderr == ""
    assert "job 7 before" in call(peer, *arguments).stderr
    assert len({request.request_id for request in peer.created}) == 1


def test_run_of_a_deployment(peer: Peer) -> None:
    assert call(peer, "run", "--deployment", "3").exit_code == 0
    assert peer.created[0].job.deployment_id == 3


def test_validate_only(peer: Peer, bell: str) -> None:
    done = call(peer, "run", bell, "--validate-only")
    assert (done.exit_code, peer.watched) == (0, [])
    assert done.stdout.startswith("valid")
    assert peer.created[0].validate_only


def test_failed_job(peer: Peer, bell: str) -> None:
    peer.events, peer.results = history(FAILED), []
    done = call(peer, "run", bell)
    assert done.exit_code == 1
    assert "no gate foo (line 4, column 1) [PROGRAM/SYNTAX_ERROR]" in done.stderr
    final = objects(call(peer, "run", bell, "--json"))[-1]
    assert final["job"]["failure"]["reason"] == "SYNTAX_ERROR"  # type: ignore[index]
    assert call(peer, "result", "7").exit_code == 1


def test_cancelled_job(peer: Peer, bell: str) -> None:
    peer.events, peer.results = history(CANCELLED), []
    assert call(peer, "run", bell).exit_code == 6


def test_timeout(peer: Peer, bell: str) -> None:
    peer.streams.append(Stream(send=2, hang=True))
    done = call(peer, "run", bell, "--timeout", "0.3")
    assert done.exit_code == 124
    assert "it continues" in done.stderr
    assert f"qonduit watch 7 --server {peer.target}" in done.stderr
    assert peer.cancelled == []


@pytest.mark.parametrize(
    ("refusal", "code", "said"),
    [
        (Refusal(Code.INVALID_ARGUMENT, "job.shots: must be at least 1", "INVALID_FIELD"), 4, "must be at least 1"),
        (Refusal(Code.ALREADY_EXISTS, "used", "REQUEST_ID_REUSED"), 4, "--request-id"),
        (Refusal(Code.FAILED_PRECONDITION, "not available"), 4, "not available"),
        (Refusal(Code.RESOURCE_EXHAUSTED, "queue full", retry_after=2), 4, "retry in 2 s"),
        (Refusal(Code.NOT_FOUND, "device NO/such does not exist"), 3, "NO/such"),
        (
            Refusal(Code.INTERNAL, "internal error", further=[details.RequestInfo(request_id="r-9")]),
            5,
            "for request r-9",
        ),
        (Refusal(Code.UNAVAILABLE, "stopping", "DRAINING", retry_after=3600), 5, "is shutting down"),
    ],
)
def test_refusals(peer: Peer, bell: str, refusal: Refusal, code: int, said: str) -> None:
    peer.refusals.append(refusal)
    done = call(peer, "run", bell)
    assert done.exit_code == code
    assert said in done.stderr
    assert "Traceback" not in done.output
    peer.refusals.append(refusal)
    error = objects(call(peer, "run", bell, "--json"))[-1]["error"]
    assert (error["status"], error["exit_code"]) == (refusal.code.name, code)  # type: ignore[index]


def test_violations_are_shown(peer: Peer, bell: str) -> None:
    bad = details.BadRequest()
    bad.field_violations.add(field="device", reason="r", description="give a device")
    peer.refusals.append(Refusal(Code.INVALID_ARGUMENT, "refused", further=[bad]))
    assert "device: give a device" in call(peer, "run", bell).stderr


def test_unreachable_server(bell: str) -> None:
    done = CliRunner().invoke(qonduit, ["jobs"], env={"QONDUIT_SERVER": "127.0.0.1:1"})
    assert done.exit_code == 5
    assert "no server at 127.0.0.1:1: start one with `qonduit serve`" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", "no/such/file.qasm"],
        ["run", "--shots", "many", "-"],
        ["nonsense"],
        ["watch"],
        ["watch", "seven"],
        ["run", "-", "--deployment", "3"],
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    done = CliRunner().invoke(qonduit, arguments, input="")
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.output


def test_unknown_language_shows_the_next_step() -> None:
    done = CliRunner().invoke(qonduit, ["run", "-"], input="h q;")
    assert done.exit_code == 4
    assert "--language" in done.stderr


def test_watch_and_rerun_and_result(peer: Peer) -> None:
    for arguments in (("watch", "7"), ("rerun", "7"), ("result", "7"), ("result", "7", "--wait")):
        done = call(peer, *arguments)
        assert done.exit_code == 0, done.output
        assert "program 1: 1000 shots" in done.stdout
    assert call(peer, "rerun", "7", "--detach").stdout == "7\n"
    assert call(peer, "watch", "8", "--timeout", "20").exit_code in (0, 3)
    assert call(peer, "result", "8").exit_code == 3


def test_histogram_options(peer: Peer) -> None:
    peer.results = [counted({hex(k): 10 + k for k in range(4)})]
    done = call(peer, "result", "7", "--sort", "count", "--top", "2", "--bits")
    assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == ["11", "10", "2"]
    assert "2 others" in done.stdout


def test_jobs(peer: Peer) -> None:
    peer.page = 3
    done = call(peer, "jobs", "--state", "succeeded")
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["ID", "STATE", "DONE", "DEVICE", "SHOTS", "CREATED", "TOOK", "NAME"]
    assert len(rows) == 3
    assert rows[0].split()[:4] == ["7", "SUCCEEDED", "100%", "IBM/aer_simulator"]
    assert len(call(peer, "jobs", "--limit", "2").stdout.splitlines()) == 4
    assert [each["id"] for each in objects(call(peer, "jobs", "--json"))] == [JOB] * 3


def test_one_job(peer: Peer) -> None:
    done = call(peer, "job", "7")
    assert "SUCCEEDED, 100% done" in done.stdout
    assert "IBM/aer_simulator" in done.stdout
    assert objects(call(peer, "job", "7", "--json"))[0]["last_sequence"] == 6
    assert call(peer, "job", "8").exit_code == 3


def test_one_job_with_inputs_small_or_large(peer: Peer) -> None:
    job = peer.events[-1].state_change.job
    job.inputs.update({"theta": 0.5, "bits": "01" * 50})
    assert "inputs      bits=01010101010101010101..., theta=0.5\n" in call(peer, "job", "7").stdout
    large = {f"a{k}": k / 4 for k in range(500)}
    data = struct_of(large).SerializeToString()
    job.ClearField("inputs")
    job.inputs_reference.name, job.inputs_reference.size_bytes = "jobs/7/inputs", len(data)
    job.inputs_reference.sha256 = hashlib.sha256(data).hexdigest()
    peer.pieces = [data[:1000], data[1000:]]
    assert (
        "inputs      a0=0, a1=0.25, a10=2.5, a100=25, a101=25.25, a102=25.5 and 494 more\n"
        in call(peer, "job", "7").stdout
    )
    assert objects(call(peer, "job", "7", "--json"))[0]["inputs"] == large


def test_cancel_and_delete(peer: Peer) -> None:
    assert call(peer, "cancel", "7", "8").stdout == "job 7: CANCELLING\njob 8: CANCELLING\n"
    peer.refusals.append(Refusal(Code.NOT_FOUND, "job 8 does not exist", "NOT_FOUND"))
    done = call(peer, "delete", "8", "7")
    assert (done.exit_code, done.stdout) == (3, "job 7: deleted\n")


@pytest.mark.parametrize("arguments", [["jobs"], ["job", "7"]])
def test_the_device_of_a_job_needs_no_separate_call(peer: Peer, arguments: list[str]) -> None:
    assert "IBM/aer_simulator" in call(peer, *arguments).stdout
    assert len(peer.called) == 1


def test_devices(peer: Peer) -> None:
    assert "IBM/aer_simulator      30  simulator, local" in call(peer, "devices").stdout
    assert objects(call(peer, "devices", "--json"))[0]["device"] == "IBM/aer_simulator"
    assert call(peer, "devices", "--languages").stdout == "IBM: QASM2\n"
