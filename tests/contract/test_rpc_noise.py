# SPDX-License-Identifier: Apache-2.0
"""Noise models of jobs: which are refused and how, and that a large one is stored once and repeated by no message."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from qonduit.v1 import job_service_pb2 as job_service
from qonduit.v1 import noise_pb2 as pb
from qonduit.v1.job_pb2 import Job
from qonduit.v1.result_service_pb2 import ReadBufferRequest
from qonduit.v1.simulation_pb2 import SimulationOptions
from qonduit_server.store import catalogue, schema
from tests.contract.rpc_fixture import BELL, WAIT, RpcFixture, descriptions, programs, refused, rpc_fixture

NOISY, PLAIN = "IBM/aer_simulator", "IBM/few_shots"


@pytest.fixture
def rpc(tmp_path: Path) -> Iterator[RpcFixture]:
    with rpc_fixture(tmp_path) as it:
        described = descriptions()
        described[0].devices[0].capabilities.noise = True
        described[0].devices[0].capabilities.methods.add(name="density_matrix", exact=True, max_qubits=12)
        catalogue.sync(it.db, described)
        yield it


def asking(noise: pb.NoiseModel | None, device: str = NOISY, **job: Any) -> job_service.CreateJobRequest:
    request = job_service.CreateJobRequest(job=Job(**{"shots": 10, **job}), device=device, deployment=programs(BELL))
    if noise is not None:
        request.job.noise_model.CopyFrom(noise)
    return request


def flips(**fields: Any) -> pb.NoiseModel:
    channel = pb.NoiseChannel(**(fields or {"bit_flip": 0.1}))
    return pb.NoiseModel(gate_errors=[pb.GateError(gates=["cx"], channel=channel)])


def large() -> pb.NoiseModel:
    """A noise model of about 1 MiB."""
    errors = [
        {"type": "roerror", "operations": ["measure"], "probabilities": [[0.9, 0.1], [0.2, 0.8]], "gate_qubits": [[k]]}
        for k in range(4000)
    ]
    text = json.dumps({"errors": errors})
    return pb.NoiseModel(aer_json=text + " " * (1024**2 - len(text)))


@pytest.mark.parametrize(
    ("noise", "field"),
    [
        (flips(bit_flip=1.5), "job.noise_model.gate_errors[0].channel"),
        (flips(phase_flip=math.nan), "job.noise_model.gate_errors[0].channel"),
        (
            flips(thermal_relaxation=pb.ThermalRelaxation(t1=1, t2=3, duration=1)),
            "job.noise_model.gate_errors[0].channel",
        ),
        (
            flips(kraus=pb.KrausChannel(operators=[pb.KrausOperator(entries=[1.0] * 8)])),
            "job.noise_model.gate_errors[0].channel",
        ),
        (pb.NoiseModel(gate_errors=[pb.GateError(gates=["cx"])]), "job.noise_model.gate_errors[0].channel"),
        (pb.NoiseModel(readout_errors=[pb.ReadoutError(prob_1_given_0=2)]), "readout_errors[0].prob_1_given_0"),
        (pb.NoiseModel(aer_json="{"), "job.noise_model.aer_json"),
        (pb.NoiseModel(aer_json='{"errors": [{"type": "z"}]}'), "job.noise_model.aer_json"),
        (pb.NoiseModel(aer_json="{}", readout_errors=[pb.ReadoutError()]), "job.noise_model"),
    ],
)
def test_a_noise_model_that_is_none_is_refused_by_field(rpc: RpcFixture, noise: pb.NoiseModel, field: str) -> None:
    code, details = refused(lambda: rpc.jobs.CreateJob(asking(noise), timeout=WAIT))
    assert code == "INVALID_ARGUMENT"
    assert any(each.field.endswith(field) for each in details["BadRequest"].field_violations)


def test_a_bond_dimension_of_0_is_refused(rpc: RpcFixture) -> None:
    simulation = SimulationOptions(max_bond_dimension=0)
    assert simulation.HasField("max_bond_dimension")
    code, details = refused(lambda: rpc.jobs.CreateJob(asking(None, simulation=simulation), timeout=WAIT))
    assert code == "INVALID_ARGUMENT"
    assert details["BadRequest"].field_violations[0].field == "job.simulation.max_bond_dimension"


def test_noise_on_a_device_without_it_is_refused_with_the_devices_that_have_it(rpc: RpcFixture) -> None:
    code, details = refused(lambda: rpc.jobs.CreateJob(asking(flips(), PLAIN), timeout=WAIT))
    assert code == "FAILED_PRECONDITION"
    assert NOISY in str(details)
    assert "noise" in str(details)
    assert rpc.jobs.CreateJob(asking(flips()), timeout=WAIT).job.id


def test_a_method_that_the_device_lacks_is_refused_with_those_it_has(rpc: RpcFixture) -> None:
    simulation = SimulationOptions(method="stabilizer")
    code, details = refused(lambda: rpc.jobs.CreateJob(asking(None, simulation=simulation), timeout=WAIT))
    assert code == "FAILED_PRECONDITION"
    violation = details["PreconditionFailure"].violations[0]
    assert violation.subject == "job.simulation.method"
    assert "its methods: density_matrix" in violation.description


def test_a_large_noise_model_is_stored_once_and_repeated_by_no_message(rpc: RpcFixture) -> None:
    noise = large()
    assert noise.ByteSize() > 1024**2
    run = job_service.RunJobRequest.FromString(asking(noise).SerializeToString())
    stream = rpc.jobs.RunJob(run, timeout=WAIT)
    messages: list[Any] = [next(stream)]
    job_id = messages[0].event.job_id
    rpc.run(job_id)
    messages += stream
    other = rpc.jobs.CreateJob(asking(noise, seed=3), timeout=WAIT)
    messages += [
        other,
        rpc.jobs.GetJob(job_service.GetJobRequest(id=job_id), timeout=WAIT),
        rpc.jobs.ListJobs(job_service.ListJobsRequest(), timeout=WAIT),
        rpc.jobs.RerunJob(job_service.RerunJobRequest(id=job_id), timeout=WAIT),
    ]
    assert max(message.ByteSize() for message in messages) < 4096
    with rpc.db.read() as connection:
        assert connection.execute(select(func.count()).select_from(schema.options)).scalar_one() == 1
    reference = other.job.noise_model_reference
    request = ReadBufferRequest(name=reference.name)
    data = b"".join(piece.data for piece in rpc.results.ReadBuffer(request, timeout=WAIT))
    assert pb.NoiseModel.FromString(data) == noise
    assert [task.spec.noise_model for task in rpc.claim()] == [noise, noise]
