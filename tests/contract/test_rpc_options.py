# SPDX-License-Identifier: Apache-2.0
"""Job options: no message repeats them, whatever their size, and their caller can read them whole."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from qonduit.v1 import job_service_pb2 as job_service
from qonduit.v1.job_pb2 import Job
from qonduit.v1.result_service_pb2 import ReadBufferRequest
from qonduit_server.rpc import submission_checks
from qonduit_server.store.jobs.job_spec import spec_of
from tests.contract.rpc_fixture import BELL, CALLER_KEY, WAIT, RpcFixture, by_name, programs, refused, rpc_fixture

#: Close to the largest allowed size of inputs.
ANGLES = {f"theta_{k:04}": k / 7 for k in range(2400)}


@pytest.fixture
def rpc(tmp_path: Path) -> Iterator[RpcFixture]:
    with rpc_fixture(tmp_path, authenticate=by_name()) as it:
        yield it


def asking(inputs: dict[str, Any], **job: Any) -> job_service.CreateJobRequest:
    """A request for a Bell job with inputs."""
    request = job_service.CreateJobRequest(
        job=Job(**{"shots": 10, **job}), device="IBM/aer_simulator", deployment=programs(BELL)
    )
    request.job.inputs.update(inputs)
    return request


def read(rpc: RpcFixture, name: str, offset: int = 0, caller: str = "anonymous") -> bytes:
    request = ReadBufferRequest(name=name, offset=offset)
    return b"".join(
        piece.data for piece in rpc.results.ReadBuffer(request, timeout=WAIT, metadata=((CALLER_KEY, caller),))
    )


def test_only_their_caller_reads_large_inputs_by_name_from_any_offset(rpc: RpcFixture) -> None:
    job = rpc.jobs.CreateJob(asking(ANGLES), timeout=WAIT).job
    assert not job.HasField("inputs")
    reference = job.inputs_reference
    data = read(rpc, reference.name)
    assert (len(data), hashlib.sha256(data).hexdigest()) == (reference.size_bytes, reference.sha256)
    assert MessageToDict(Struct.FromString(data)) == ANGLES
    assert read(rpc, reference.name, 1234) == data[1234:]
    assert read(rpc, reference.name, len(data)) == b""
    assert refused(lambda: read(rpc, reference.name, len(data) + 1))[0] == "INVALID_ARGUMENT"
    code, details = refused(lambda: read(rpc, reference.name, caller="another caller"))
    assert (code, details["ResourceInfo"].resource_type) == ("NOT_FOUND", "buffer")
    rpc.run(job.id)
    rpc.jobs.DeleteJob(job_service.DeleteJobRequest(id=job.id), timeout=WAIT)
    assert refused(lambda: read(rpc, reference.name))[0] == "NOT_FOUND"


def test_no_response_or_stream_repeats_large_inputs(rpc: RpcFixture) -> None:
    run = job_service.RunJobRequest.FromString(asking(ANGLES).SerializeToString())
    stream = rpc.jobs.RunJob(run, timeout=WAIT)
    messages = [next(stream)]
    job_id = messages[0].event.job_id
    rpc.run(job_id)
    messages += stream
    messages.append(rpc.jobs.GetJob(job_service.GetJobRequest(id=job_id), timeout=WAIT))
    messages.append(rpc.jobs.ListJobs(job_service.ListJobsRequest(), timeout=WAIT))
    messages.append(rpc.jobs.RerunJob(job_service.RerunJobRequest(id=job_id), timeout=WAIT))
    messages.append(rpc.jobs.CancelJob(job_service.CancelJobRequest(id=job_id), timeout=WAIT))
    validated = asking(ANGLES)
    validated.validate_only = True
    messages.append(rpc.jobs.CreateJob(validated, timeout=WAIT))
    assert messages[-1].job.inputs_reference.sha256
    assert not messages[-1].job.inputs_reference.name
    assert max(message.ByteSize() for message in messages) < 2048


def test_a_repeated_request_with_large_inputs_is_recognized(rpc: RpcFixture) -> None:
    request = asking(ANGLES)
    request.request_id = str(uuid.uuid4())
    first = rpc.jobs.CreateJob(request, timeout=WAIT)
    again = rpc.jobs.CreateJob(request, timeout=WAIT)
    assert (again.deduplicated, again.job) == (True, first.job)
    request.job.inputs["theta_0001"] = 5
    assert refused(lambda: rpc.jobs.CreateJob(request, timeout=WAIT))[0] == "ALREADY_EXISTS"


@pytest.mark.parametrize(
    ("job", "inputs", "expected"),
    [
        (Job(shots=10), None, "9f91d7d5aa26a048e280c394e023cdd46281db3e45572b71df9af3dd71cdceaa"),
        (
            Job(shots=1000, name="bell", seed=7, type="JOB_TYPE_RUNNER", include_statevector=True),
            {"theta": 0.7, "flags": "01", "list": [1.0, True]},
            "0c40ce660463c8b11b7d4e90013d7ed019a151ea34dfb3c321e2dea28df1f8de",
        ),
        (
            Job(shots=1, name="", seed=0),
            {f"p{k}": k / 3 for k in range(1000)},
            "046791f73f1fb149af78535585b30c69059ea086442e3fced1912687f6d781c6",
        ),
        (Job(shots=1), {}, "0368cd19851f5e7c985d1773b7b9c6c2a3b5c73a03abc0f7447c0876d56fbc1b"),
    ],
)
def test_the_hash_of_a_request_equals_the_one_older_versions_stored(
    rpc: RpcFixture, job: Job, inputs: dict[str, Any] | None, expected: str
) -> None:
    request = job_service.CreateJobRequest(job=job, device="IBM/aer_simulator", request_id="x")
    request.deployment.programs.add(quantum_circuit="OPENQASM 2.0;", assembler_language=1)
    if inputs is not None:
        request.job.inputs.SetInParent()
        request.job.inputs.update(inputs)
    (fingerprint,) = submission_checks._fingerprints(rpc.db, request, spec_of(request.job))
    assert fingerprint.hex() == expected


def test_a_thousand_jobs_with_forty_parameters_are_sent_and_listed_without_repeating_them(rpc: RpcFixture) -> None:
    requests = [asking({f"theta_{k}": 0.1 * k + number for k in range(40)}) for number in range(1000)]
    inputs = requests[0].job.inputs.ByteSize()
    with ThreadPoolExecutor(16) as pool:
        ids = [response.job.id for response in pool.map(rpc.jobs.CreateJob, requests)]
    rpc.claim()
    for job_id in ids[:100]:
        rpc.finish(job_id)
    sizes = [
        sum(response.ByteSize() for response in rpc.jobs.WatchJob(job_service.WatchJobRequest(job_id=job_id)))
        for job_id in ids[:100]
    ]
    # The first event has them; the two state changes do not.
    assert inputs < min(sizes) <= max(sizes) < inputs + 900
    page = rpc.jobs.ListJobs(job_service.ListJobsRequest(page_size=1000), timeout=WAIT)
    assert len(page.jobs) == 1000
    assert 1000 * inputs < page.ByteSize() < 1000 * (inputs + 250)
