# SPDX-License-Identifier: Apache-2.0
"""Exact reruns on a real server: a job without a seed is repeated with equal counts, by client and command line."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from qonduit.v1.deployment_pb2 import Deployment, QuantumProgram
from qonduit.v1.job_pb2 import Job
from qonduit.v1.job_service_pb2 import CreateJobRequest
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_client import Client, PreconditionFailed
from tests.e2e.test_cli import qonduit
from tests.server_process import Server

#: 256 outcomes: two runs with different seeds practically never agree.
SPREAD = 'OPENQASM 3.0; include "stdgates.inc"; qubit[8] q; bit[8] c; h q; c = measure q;'
PAIR = 'OPENQASM 3.0; include "stdgates.inc"; qubit[2] q; bit[2] c; ry(0.4) q; cx q[0], q[1]; c = measure q;'


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with Client(server.target, timeout=180) as made:
        yield made


@pytest.mark.parametrize(
    ("device", "program"),
    [("IBM/aer_simulator", SPREAD), ("AWS/local_simulator", SPREAD), ("GOOGLE/rainbow", PAIR), ("IBM/fake_lima", PAIR)],
)
def test_an_exact_rerun_of_a_job_without_a_seed_gives_the_same_counts(
    client: Client, device: str, program: str
) -> None:
    first = client.run(program, device, 2000)
    counts = first.result(timeout=180).counts
    exact = client.rerun(first.id, exact=True)
    assert exact.result(timeout=180).counts == counts
    assert exact.job().seed == first.job().drawn_seed
    provenance = exact.result().message.provenance
    assert provenance == first.result().message.provenance
    assert provenance.device == device
    assert client.rerun(first.id).job().drawn_seed != first.job().drawn_seed


def test_an_exact_rerun_of_a_sweep_on_a_fake_backend_gives_the_same_counts(client: Client) -> None:
    """Its circuit is compiled with parameters, in each worker by itself."""
    turned = PAIR.replace("qubit[2]", "input float a; qubit[2]").replace("ry(0.4)", "ry(a)")
    first = client.submit_sample(turned, "IBM/fake_lima", shots=2000, parameter_values={"a": [0.4, 0.9, 2.5]})
    found = [each.quasi_probabilities for each in first.samples(timeout=180)]
    assert len(found) == 3
    exact = client.rerun(first.id, exact=True)
    assert [each.quasi_probabilities for each in exact.samples(timeout=180)] == found
    assert [each.quasi_probabilities for each in client.rerun(first.id).samples(timeout=180)] != found


def test_the_command_line_repeats_a_job_exactly_or_says_why_not(server: Server, client: Client) -> None:
    first = client.run(SPREAD, "IBM/aer_simulator", 500)
    counts = first.result(timeout=180).counts
    code, written, _ = qonduit(server, "rerun", "--exact", str(first.id), "--detach")
    assert code == 0
    assert client.job(int(written)).result(timeout=180).counts == counts
    failed = client.run("OPENQASM 2.0; nonsense", "IBM/aer_simulator", 10)
    failed.wait(timeout=180)
    with pytest.raises(PreconditionFailed, match="its results have no provenance"):
        client.rerun(failed.id, exact=True)
    code, _, errors = qonduit(server, "rerun", "--exact", str(failed.id))
    assert code != 0
    assert f"job {failed.id} cannot be repeated exactly" in errors


def test_a_job_has_its_labels_its_drawn_seed_and_its_compiled_circuit(server: Server, client: Client) -> None:
    program = QuantumProgram(quantum_circuit=PAIR, assembler_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3)
    wanted = Job(shots=10, labels={"project": "h2", "by": "lab"}, include_compiled_circuit=True)
    request = CreateJobRequest(job=wanted, deployment=Deployment(programs=[program]), device="IBM/fake_lima")
    with grpc.insecure_channel(server.target) as channel:
        job = JobServiceStub(channel).CreateJob(request, timeout=60).job
    result = client.job(job.id).result(timeout=180)
    assert "qubit[5] q;" in (result.compiled_circuit or "")
    again = client.rerun(job.id, exact=True)
    assert dict(again.job().labels) == {"project": "h2", "by": "lab"}
    assert again.result(timeout=180).compiled_circuit == result.compiled_circuit
    _, shown, _ = qonduit(server, "job", str(job.id))
    assert "by=lab, project=h2" in shown
    assert f"{job.drawn_seed} (drawn)" in shown
