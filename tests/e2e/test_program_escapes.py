# SPDX-License-Identifier: Apache-2.0
"""Server programs cannot leave their sandbox, and their socket to the server gives them no further rights."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from qonduit.v1.job_pb2 import JobState
from qonduit_client import Client
from qonduit_client.errors import JobFailed
from tests.benchmarks.programs import BELL
from tests.sandbox_attacks import ATTACKS, ESCAPED, PRELUDE, Prey, exposed
from tests.server_process import Server, serving_programs

DEVICE = "IBM/aer_simulator"
SECONDS = 240.0

#: A program that attacks after it has used its backend.
PROGRAM = """
ESCAPED = {escaped!r}
def main(backend, user_messenger, **inputs):
    backend.target, backend.name
{prelude}
    exec(inputs["attack"], {{**globals(), **locals()}})
    raise RuntimeError(ESCAPED)
"""
#: The socket of a program and its descriptor, as it finds them.
SOCKET = """
import os
from google.protobuf.struct_pb2 import Value
from qonduit.execution.v1.program_pb2 import ProgramCall
from qonduit.v1.event_pb2 import InterimResult
from qonduit_client import transport

socket_of = transport._of_program._channel
number = socket_of._descriptor

def publish(**value):
    socket_of.send(interim=InterimResult(value=Value(**value)))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving_programs(tmp_path_factory.mktemp("escapes"), max_running_programs="8") as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.target) as found:
        yield found


@pytest.fixture(scope="module")
def prey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prey]:
    with exposed(tmp_path_factory.mktemp("prey")) as found:
        yield found


def test_no_attack_on_the_sandbox_works_in_a_program(client: Client, prey: Prey, tmp_path: Path) -> None:
    path = tmp_path / "attack.py"
    path.write_text(PROGRAM.format(escaped=ESCAPED, prelude=textwrap.indent(PRELUDE, "    ")))
    prey.restore()
    before = prey.state()
    # In batches, because each waits for a place.
    runs = {
        name: client.programs.run(path, DEVICE, {**prey.inputs(), "attack": attack}) for name, attack in ATTACKS.items()
    }
    for name, run in runs.items():
        with pytest.raises(JobFailed) as caught:
            run.output(timeout=SECONDS)
        assert ESCAPED not in str(caught.value), name
        assert caught.value.failure.reason in ("PYTHON_ERROR", "SANDBOX_DIED"), (name, caught.value)
    assert prey.state() == before
    assert prey.victim.poll() is None
    # The same program without an attack runs to its end, so the attacks are what failed.
    with pytest.raises(JobFailed, match=ESCAPED):
        client.programs.run(path, DEVICE, {**prey.inputs(), "attack": "pass"}).output(timeout=SECONDS)


GARBAGE = {
    "random bytes": "import random\nr = random.Random(7)\nwhile True: os.write(number, r.randbytes(5000))",
    "an endless frame": "os.write(number, b'\\xff' * 4)\nwhile True: os.write(number, bytes(65536))",
    "no message": "os.write(number, (4).to_bytes(4, 'big') + b'\\xff' * 4)\nwhile True: pass",
    "an empty message": "os.write(number, bytes(4))\nwhile True: pass",
    "a forged output": "socket_of.send(output=b'{\"a\": NaN}')",
    "a forged value": "publish(number_value=float('nan'))\nwhile True: pass",
    "a large value": "publish(string_value='x' * 70_000)\nwhile True: pass",
    "a value nested deeply": (
        "v = Value(number_value=1)\nfor _ in range(45): w = Value(); w.list_value.values.append(v); v = w\n"
        "publish(list_value=v.list_value)\nwhile True: pass"
    ),
    "a closed socket": "os.close(number)\nwhile True: pass",
    "many calls at once": (
        "for n in range(2000): socket_of.send(call=ProgramCall(id=n, method='DeviceService/ListDevices'))\n"
        "raise ValueError('done')"
    ),
    "invalid requests": (
        "for n in range(50): assert socket_of.call('JobService/CreateJob', bytes([n]) * 100).status\n"
        "raise ValueError('done')"
    ),
}
#: How the programs fail that do not misuse their socket.
FAILURES = {"a forged output": "INVALID_OUTPUT", "invalid requests": "PYTHON_ERROR"}
OTHER = "def main(backend, user_messenger):\n    user_messenger.publish(1)\n    return 2\n"


@pytest.mark.parametrize("name", GARBAGE)
def test_whatever_a_program_sends_is_its_own_failure(name: str, client: Client, tmp_path: Path) -> None:
    (tmp_path / "garbage.py").write_text(SOCKET + GARBAGE[name])
    (tmp_path / "other.py").write_text(OTHER)
    program = client.programs.run(tmp_path / "garbage.py", DEVICE)
    other = client.programs.run(tmp_path / "other.py", DEVICE)
    with pytest.raises(JobFailed) as caught:
        program.output(timeout=SECONDS)
    assert caught.value.failure.reason == FAILURES.get(name, "CHANNEL_MISUSED"), caught.value
    assert caught.value.failure.category == 1, caught.value
    assert program.job().attempt == 1
    assert other.output(timeout=SECONDS) == 2


RIGHTS = """
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2, status_pb2
from qonduit.v1 import deployment_pb2, job_pb2, job_service_pb2, result_service_pb2
from qonduit_client import transport

channel = transport._of_program._channel

def reason(method, request):
    status = status_pb2.Status.FromString(channel.call(method, request.SerializeToString()).status)
    info = error_details_pb2.ErrorInfo()
    for each in status.details:
        each.Unpack(info)
    return info.reason or "OK"

def main(backend, user_messenger, job, result, program):
    source = deployment_pb2.Deployment(
        programs=[
            deployment_pb2.QuantumProgram(quantum_circuit="x = 1", assembler_language="ASSEMBLER_LANGUAGE_PYTHON")
        ]
    )
    child = lambda **fields: job_service_pb2.CreateJobRequest(device=backend.name, deployment=source, **fields)
    return {
        "get": reason("JobService/GetJob", job_service_pb2.GetJobRequest(id=job)),
        "itself": reason("JobService/GetJob", job_service_pb2.GetJobRequest(id=program)),
        "cancel": reason("JobService/CancelJob", job_service_pb2.CancelJobRequest(id=job)),
        "watch": reason("JobService/WatchJob", job_service_pb2.WatchJobRequest(job_id=job)),
        "results": reason("ResultService/ListResults", result_service_pb2.ListResultsRequest(job_id=job)),
        "buffer": reason("ResultService/ReadBuffer", result_service_pb2.ReadBufferRequest(name=f"results/{result}")),
        "delete": reason("JobService/DeleteJob", job_service_pb2.DeleteJobRequest(id=job)),
        "list": reason("JobService/ListJobs", job_service_pb2.ListJobsRequest()),
        "rerun": reason("JobService/RerunJob", job_service_pb2.RerunJobRequest(id=job)),
        "unknown": reason("Nothing/At", job_service_pb2.ListJobsRequest()),
        "program": reason("JobService/CreateJob", child(job=job_pb2.Job(type="JOB_TYPE_IBM_RUNNER"))),
        "credential": reason("JobService/CreateJob", child(job=job_pb2.Job(shots=1), credential="x")),
    }
"""


def test_a_program_reaches_its_own_jobs_only(client: Client, tmp_path: Path) -> None:
    handle = client.run(BELL, DEVICE, shots=10)
    handle.result(timeout=SECONDS)
    (tmp_path / "rights.py").write_text(RIGHTS)
    first = client.programs.run(tmp_path / "rights.py", DEVICE, {"job": handle.id, "result": 1, "program": 1})
    found = first.output(timeout=SECONDS)
    refused = ("PERMISSION_DENIED", "NOT_FOUND", "INVALID_FIELD")
    assert all(reason in refused for reason in found.values()), found
    assert handle.job().state == JobState.JOB_STATE_SUCCEEDED
    assert not list(first.children())
