# SPDX-License-Identifier: Apache-2.0
"""The largest job that the API accepts: its size as a job, in events and in lists."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import FurtherResult, ProgramFailed, ProgramSucceeded, TaskEvent, TaskFinished
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.device_pb2 import Device, DeviceCapabilities
from qonduit.v1.estimator_pb2 import EstimatorOptions, Observable
from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.failure_pb2 import FAILURE_CATEGORY_LIMIT, Failure
from qonduit.v1.job_pb2 import Job, JobType
from qonduit.v1.job_service_pb2 import (
    CreateJobRequest,
    GetJobRequest,
    ListJobsRequest,
    RerunJobRequest,
    WatchJobRequest,
)
from qonduit.v1.noise_pb2 import NoiseModel, ReadoutError
from qonduit.v1.provider_pb2 import Provider, ProviderAssemblerLanguage
from qonduit.v1.result_pb2 import Result
from qonduit.v1.simulation_pb2 import SimulationMethod, SimulationOptions
from qonduit.v1.sweep_pb2 import ParameterSets
from qonduit_server.lifecycle import FAILED
from qonduit_server.store import catalogue
from qonduit_server.store.jobs import queue
from qonduit_server.store.jobs.job_sizes import JOB_BYTES, RUNS_BYTES, SPEC_BYTES
from qonduit_server.store.jobs.job_spec import INLINE_BYTES, LARGE, pack
from tests.contract.rpc_fixture import (
    BELL,
    CALLER_KEY,
    OWNER,
    QASM2,
    RpcFixture,
    by_name,
    descriptions,
    programs,
    rpc_fixture,
)

PROGRAMS = 500
#: The longest name of a caller, and of everything that a caller names.
CALLER = "c" * 1024
METADATA = ((CALLER_KEY, CALLER),)
NAME = "n" * 255
MESSAGE = "\U0001f6a7" * 2000
FAILURE = Failure(category=FAILURE_CATEGORY_LIMIT, reason="r" * 500, message=MESSAGE, provider_code="p" * 500)


#: A device that has every option, with the longest name.
WIDE = Device(
    name="d" * 250,
    num_qubits=20,
    is_simulator=True,
    is_local=True,
    available=True,
    max_shots=100_000,
    capabilities=DeviceCapabilities(
        parameters=True,
        coupling_map=True,
        noise=True,
        job_types=[JobType.JOB_TYPE_ESTIMATOR],
        methods=[SimulationMethod(name="density_matrix", max_qubits=20, exact=True, noise=True)],
        floating_point=["double"],
    ),
)


@pytest.fixture
def rpc(tmp_path: Path) -> Iterator[RpcFixture]:
    with rpc_fixture(tmp_path, authenticate=by_name()) as it:
        provider = Provider(name="STIM", supported_languages=[ProviderAssemblerLanguage(supported_language=QASM2)])
        catalogue.sync(it.db, [*descriptions(), ProviderDescription(provider=provider, devices=[WIDE])])
        yield it


def labels() -> dict[str, str]:
    """Return as many labels as a job can have, of the largest size."""
    return {f"{number:063}": "v" * 255 for number in range(32)}


def large(job: Job | JobSpec, size: int) -> None:
    """Set all large options of an estimator job to at most a size in bytes."""
    job.inputs.update({f"a{number:03}": 0.5 for number in range((size - 20) // 19)})
    errors = [ReadoutError(qubits=[0], prob_1_given_0=0.1, prob_0_given_1=0.1)] * ((size - 8) // 23)
    job.noise_model.CopyFrom(NoiseModel(readout_errors=errors))
    job.estimator.CopyFrom(EstimatorOptions(observables=[Observable(expression="Z0" + " " * (size - 12))]))
    names = [f"p{number:03}" for number in range((size - 20) // 15)]
    job.parameter_sets.CopyFrom(ParameterSets(names=names, values=[0.5] * len(names)))
    del job.program_options[:]
    for index in range(min(PROGRAMS, (size - 100) // 10)):
        job.program_options.add(index=index, shots=2**16)


def record(rpc: RpcFixture, job_id: int, outcomes: list[dict[str, Any]]) -> None:
    """Record the outcomes of a claimed job's programs, and its end."""
    events = [TaskEvent(job_id=job_id, attempt=1, **each) for each in [*outcomes, {"finished": TaskFinished()}]]
    assert not queue.record(rpc.db, OWNER, events)


def without_runs(job: Job) -> int:
    """Return the size of a job without the outcomes of its programs."""
    kept = Job()
    kept.CopyFrom(job)
    kept.ClearField("program_runs")
    return kept.ByteSize()


def runs(job: Job) -> int:
    """Return the size of the outcomes of a job's programs."""
    return Job(program_runs=job.program_runs).ByteSize()


def events(rpc: RpcFixture, job: Job) -> list[JobEvent]:
    """Return the stored events of an ended job."""
    request = WatchJobRequest(job_id=job.id)
    return [response.event for response in rpc.jobs.WatchJob(request, metadata=METADATA)]


@pytest.mark.parametrize("size", [80, 700, INLINE_BYTES - 8, 3 * INLINE_BYTES])
@pytest.mark.parametrize("tags", [labels(), {}])
def test_the_largest_job_takes_16_kib_beside_its_programs(rpc: RpcFixture, size: int, tags: dict[str, str]) -> None:
    job = Job(name=NAME, shots=2**16, type=JobType.JOB_TYPE_ESTIMATOR, labels=tags)
    job.simulation.CopyFrom(SimulationOptions(method="density_matrix", floating_point="double", optimization_level=3))
    job.simulation.max_bond_dimension, job.simulation.min_fidelity = 65536, 0.5
    job.stop_when.standard_error = 0.01
    large(job, size)
    request = CreateJobRequest(job=job, device=f"STIM/{WIDE.name}", deployment=programs(*[BELL] * PROGRAMS))
    created = rpc.jobs.CreateJob(request, metadata=METADATA).job
    (task,) = rpc.claim()
    for field in LARGE:
        assert getattr(task.spec, field) == getattr(job, field), field
    job_id = created.id
    record(rpc, job_id, [{"program_failed": ProgramFailed(index=k, failure=FAILURE)} for k in range(PROGRAMS)])

    got = rpc.jobs.GetJob(GetJobRequest(id=job_id), metadata=METADATA).job
    (listed,) = rpc.jobs.ListJobs(ListJobsRequest(), metadata=METADATA).jobs
    found = events(rpc, got)
    again = rpc.jobs.RerunJob(RerunJobRequest(id=job_id), metadata=METADATA).job
    for each in (created, got, listed, again, *(event.state_change.job for event in found)):
        assert without_runs(each) <= JOB_BYTES
    for each in (listed, *(event.created for event in found), *(event.state_change.job for event in found)):
        assert runs(each) <= RUNS_BYTES
    whole = [
        event.ByteSize() for event in found if not event.HasField("state_change") and not event.HasField("created")
    ]
    assert max(whole) <= JOB_BYTES
    # What fits stays: the start of each failure in GetJob, those of the first programs in events and lists.
    assert len(got.failure.message.encode()) > 1500
    assert all(len(run.failure.message) > 300 for run in got.program_runs)
    assert {len(run.failure.reason) for run in got.program_runs} == {128}
    with_failure = [run.index for run in listed.program_runs if run.HasField("failure")]
    assert 5 < len(with_failure) < PROGRAMS
    assert with_failure == list(range(len(with_failure)))
    assert found[-1].state_change.job.program_runs == listed.program_runs
    assert [run.state for run in listed.program_runs] == [FAILED] * PROGRAMS


def test_result_ids_of_many_programs_are_shortened_evenly(rpc: RpcFixture) -> None:
    request = CreateJobRequest(job=Job(shots=10), device="IBM/aer_simulator", deployment=programs(*[BELL] * PROGRAMS))
    job_id = rpc.jobs.CreateJob(request).job.id
    rpc.claim()
    further = [FurtherResult(result=Result(shots=10))] * 19
    done = [ProgramSucceeded(index=k, result=Result(shots=10), further=further) for k in range(PROGRAMS)]
    record(rpc, job_id, [{"program_succeeded": each} for each in done])
    got = rpc.jobs.GetJob(GetJobRequest(id=job_id)).job
    (listed,) = rpc.jobs.ListJobs(ListJobsRequest()).jobs
    assert {len(run.result_ids) for run in got.program_runs} == {20}
    assert runs(got) > RUNS_BYTES >= runs(listed)
    for shortened, whole in zip(listed.program_runs, got.program_runs, strict=True):
        assert list(shortened.result_ids) == whole.result_ids[: len(shortened.result_ids)]
    (listed_ids,) = {len(run.result_ids) for run in listed.program_runs}
    assert 0 < listed_ids < 20


def test_small_options_are_stored_only_where_the_job_needs_the_room() -> None:
    spec = JobSpec(labels=labels())
    large(spec, 450)
    names = sorted(pack(spec).options)
    assert len(names) == 1
    spec = JobSpec()
    large(spec, INLINE_BYTES - 8)
    packed = pack(spec)
    assert packed.spec.ByteSize() <= SPEC_BYTES
    assert sum(packed.spec.HasField(f"{field}_reference") for field in LARGE) == 2
    small = JobSpec(labels=labels())
    small.inputs.update({"a": 1})
    assert pack(small).spec == small
