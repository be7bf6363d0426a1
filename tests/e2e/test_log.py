# SPDX-License-Identifier: Apache-2.0
"""The log of a working server: one line a call and one a step of a job, with ids and without programs."""

from __future__ import annotations

import json
from pathlib import Path

import grpc

from qonduit.v1.job_pb2 import Job, JobState
from qonduit.v1.job_service_pb2 import RunJobRequest
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from qonduit.v1.provider_pb2 import AssemblerLanguage
from tests.benchmarks.programs import BELL
from tests.server_process import serving


def test_calls_and_steps_are_logged_with_their_ids_and_programs_are_not(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    broken = "OPENQASM 2.0;\nqreg secret_register[1]\n"
    ended = []
    with (
        serving(f"sqlite:///{tmp_path / 'q.sqlite3'}", log=log, providers="IBM") as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        jobs = JobServiceStub(channel)
        for text in (BELL, broken):
            request = RunJobRequest(job=Job(shots=10), device="IBM/aer_simulator")
            request.deployment.programs.add(
                quantum_circuit=text, assembler_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2
            )
            stream = jobs.RunJob(request, timeout=60, metadata=(("x-request-id", "from-the-test"),))
            *_, last = stream
            ended.append(last.event.state_change.job)
    assert [job.state for job in ended] == [JobState.JOB_STATE_SUCCEEDED, JobState.JOB_STATE_FAILED]
    text = log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    for job, last in zip(ended, ("SUCCEEDED", "FAILED"), strict=True):
        mine = [line for line in lines if line.get("job_id") == job.id]
        assert [line["state"] for line in mine if line["event"] == "job"] == ["QUEUED", "RUNNING", last]
        (call,) = [line for line in mine if line["event"] == "call"]
        assert (call["method"], call["code"], call["request_id"]) == ("JobService/RunJob", "OK", "from-the-test")
    assert "OPENQASM" not in text
    assert "secret_register" not in text
    assert "cx q" not in text
    assert {line["event"] for line in lines} >= {"serving", "draining", "stopped"}
