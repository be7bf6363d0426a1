# SPDX-License-Identifier: Apache-2.0
"""Options of samplers, estimators and sweeps in calls: refusals with the field, large options, results by range."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import pytest

from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.estimator_pb2 import EstimatorOptions, Observable, PauliTerms
from qonduit.v1.job_pb2 import Job, ProgramOptions, StopCondition
from qonduit.v1.noise_pb2 import NoiseModel
from qonduit.v1.sampler_pb2 import SamplerOptions
from qonduit.v1.sweep_pb2 import ParameterSets
from tests.contract.job_requests import ESTIMATOR, SAMPLER, asking, create, read, with_every_type
from tests.contract.rpc_fixture import WAIT, RpcFixture, refused, rpc_fixture

SUM = Observable(expression="1.5*X0*X1 - 0.5*Z0")
LINE = ParameterSets(names=["a", "b"], values=[0.1, 0.2, 0.3, 0.4])


@pytest.fixture(scope="module")
def rpc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RpcFixture]:
    with rpc_fixture(tmp_path_factory.mktemp("rpc")) as it:
        yield with_every_type(it)


def estimating(**options: Any) -> dict[str, Any]:
    return {"type": ESTIMATOR, "estimator": EstimatorOptions(**({"observables": [SUM]} | options))}


BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "observables of a runner": ({"estimator": EstimatorOptions(observables=[SUM])}, "job.estimator", "ESTIMATOR"),
    "a sampler's options of a runner": ({"sampler": SamplerOptions(per_shot=True)}, "job.sampler", "SAMPLER"),
    "no observables": (estimating(observables=[]), "job.estimator.observables", "at least one"),
    "an expression": (
        estimating(observables=[SUM, Observable(expression="X0 * Q1")]), "job.estimator.observables[1]", "'Q'",
    ),
    "an empty observable": (estimating(observables=[Observable()]), "job.estimator.observables[0]", "must be set"),
    "an imaginary sum": (
        estimating(observables=[Observable(expression="X0*Y0")]), "job.estimator.observables[0]", "imaginary",
    ),
    "masks of another size": (
        estimating(observables=[Observable(terms=PauliTerms(coefficients=[1], x_masks=b"12", num_qubits=2))]),
        "job.estimator.observables[0]", "x_masks",
    ),
    "a coefficient that is no number": (
        estimating(
            observables=[
                Observable(terms=PauliTerms(coefficients=[math.nan], x_masks=b"1", z_masks=b"1", num_qubits=8))
            ]
        ),
        "job.estimator.observables[0]", "nan",
    ),
    "precision of 0": (estimating(precision=0), "job.estimator.precision", "greater than 0"),
    "exact with a precision": (estimating(precision=0.1, exact=True), "job.estimator", "exact excludes precision"),
    "a level of 1": (estimating(confidence_level=1), "job.estimator.confidence_level", "less than 1"),
    "a gradient without names": (estimating(gradient=True), "job.estimator.gradient", "parameter_sets"),
    "a matrix of another shape": (
        {"parameter_sets": ParameterSets(names=["a", "b"], values=[1, 2, 3])}, "job.parameter_sets", "whole number",
    ),
    "no values": ({"parameter_sets": ParameterSets(names=["a"])}, "job.parameter_sets", "at least one"),
    "a value that is no number": (
        {"parameter_sets": ParameterSets(names=["a", "b"], values=[1, 2, 3, math.nan])},
        "job.parameter_sets.values[3]", "'b' at point 1",
    ),
    "an infinite value": (
        {"parameter_sets": ParameterSets(names=["a"], values=[math.inf])}, "job.parameter_sets.values[0]", "inf",
    ),
    "a name twice": (
        {"parameter_sets": ParameterSets(names=["a", "a"], values=[1, 2])}, "job.parameter_sets.names", "unique",
    ),
    "too many points": (
        {"parameter_sets": ParameterSets(names=["a"], values=[0.0] * 100_001)}, "job.parameter_sets.values", "100000",
    ),
    "exact single shots": (
        {"type": SAMPLER, "sampler": SamplerOptions(per_shot=True, exact=True)}, "job.sampler.per_shot", "exact",
    ),
    "no shots": ({"shots": 0}, "job.shots", "at least 1"),
    "an estimator without shots": ({"shots": 0} | estimating(), "job.shots", "at least 1"),
    "a stop condition of exact values": (
        estimating(exact=True) | {"stop_when": StopCondition(standard_error=0.1)}, "job.stop_when", "exact",
    ),
    "a stop condition of 0": ({"stop_when": StopCondition()}, "job.stop_when.standard_error", "greater than 0"),
    "options of no program": (
        {"program_options": [ProgramOptions(index=1, shots=5)]}, "job.program_options[0].index", "below the number",
    ),
    "options of one program twice": (
        {"program_options": [ProgramOptions(index=0, shots=5), ProgramOptions(index=0, shots=6)]},
        "job.program_options[1].index", "twice",
    ),
    "own observables of a runner": (
        {"program_options": [ProgramOptions(estimator=EstimatorOptions(observables=[SUM]))]},
        "job.program_options[0].estimator", "ESTIMATOR",
    ),
    "an own estimator without observables": (
        estimating() | {"program_options": [ProgramOptions(estimator=EstimatorOptions(exact=True))]},
        "job.program_options[0].estimator.observables", "at least one",
    ),
    "a program without shots": (
        estimating(exact=True)
        | {"shots": 0, "program_options": [ProgramOptions(estimator=EstimatorOptions(observables=[SUM]))]},
        "job.program_options[0].shots", "at least 1",
    ),
    "own values that are no numbers": (
        {"program_options": [ProgramOptions(parameter_sets=ParameterSets(names=["a"], values=[math.nan]))]},
        "job.program_options[0].parameter_sets.values[0]", "nan",
    ),
    "own noise": (
        {
            "program_options": [
                ProgramOptions(noise_model=NoiseModel(readout_errors=[{"prob_1_given_0": 2.0}]))
            ]
        },
        "job.program_options[0].noise_model.readout_errors[0].prob_1_given_0", "",
    ),
    "too many own shots": (
        {"program_options": [ProgramOptions(shots=10_000_001)]}, "job.program_options[0].shots", "max_shots",
    ),
    "an empty label": ({"labels": {"": "x"}}, "job.labels[]", ""),
}  # fmt: skip


@pytest.mark.parametrize("validate_only", [False, True])
@pytest.mark.parametrize("case", BAD)
def test_bad_options_are_refused_with_their_field(rpc: RpcFixture, case: str, validate_only: bool) -> None:
    job, field, message = BAD[case]
    request = asking(**job)
    request.validate_only = validate_only
    code, details = refused(lambda: rpc.jobs.CreateJob(request, timeout=WAIT))
    assert code == "INVALID_ARGUMENT"
    found = {each.field: each.description for each in details["BadRequest"].field_violations}
    assert field in found, found
    assert message in found[field]
    if not validate_only:
        run = calls.RunJobRequest.FromString(request.SerializeToString())
        assert refused(lambda: next(rpc.jobs.RunJob(run, timeout=WAIT)))[0] == "INVALID_ARGUMENT"


def test_names_that_are_inputs_too_are_refused(rpc: RpcFixture) -> None:
    for names, path in ((["theta"], "job"), (["theta[1]"], "job")):
        request = asking(parameter_sets=ParameterSets(names=names, values=[1]))
        request.job.inputs["theta"] = 1.0
        code, details = refused(lambda request=request: rpc.jobs.CreateJob(request, timeout=WAIT))  # type: ignore[misc]
        (violation,) = details["BadRequest"].field_violations
        assert (code, violation.field) == ("INVALID_ARGUMENT", f"{path}.parameter_sets.names")
        assert repr(names[0]) in violation.description
    allowed = asking(parameter_sets=ParameterSets(names=["theta2"], values=[1]))
    allowed.job.inputs["theta"] = 1.0
    assert rpc.jobs.CreateJob(allowed, timeout=WAIT).job.id


def test_jobs_that_need_no_shots(rpc: RpcFixture) -> None:
    for fields in (
        estimating(exact=True),
        estimating(precision=0.1),
        {"type": SAMPLER, "sampler": SamplerOptions(exact=True)},
    ):
        assert create(rpc, shots=0, **fields).shots == 0
    assert create(rpc, device="IBM/few_shots", shots=10, program_options=[ProgramOptions(shots=10)]).id
    code, details = refused(
        lambda: create(rpc, device="IBM/few_shots", shots=10, program_options=[ProgramOptions(shots=11)])
    )
    assert (code, details["BadRequest"].field_violations[0].field) == (
        "INVALID_ARGUMENT",
        "job.program_options[0].shots",
    )


def test_options_stand_on_the_job(rpc: RpcFixture) -> None:
    fields: dict[str, Any] = estimating(gradient=True, confidence_level=0.9) | {
        "parameter_sets": LINE,
        "labels": {"team": "blue", "run": ""},
        "stop_when": StopCondition(standard_error=0.25),
        "program_options": [ProgramOptions(index=1, shots=3)],
    }
    job = create(rpc, number=2, **fields)
    for found in (job, rpc.jobs.GetJob(calls.GetJobRequest(id=job.id), timeout=WAIT).job):
        assert found.estimator == fields["estimator"]
        assert found.parameter_sets == LINE
        assert dict(found.labels) == fields["labels"]
        assert found.stop_when == fields["stop_when"]
        assert list(found.program_options) == fields["program_options"]
        assert [run.points for run in found.program_runs] == [2, 2]
    listed = rpc.jobs.ListJobs(calls.ListJobsRequest(page_size=1), timeout=WAIT).jobs[0]
    assert dict(listed.labels) == fields["labels"]
    again = rpc.jobs.RerunJob(calls.RerunJobRequest(id=job.id), timeout=WAIT).job
    assert again.estimator == fields["estimator"]
    assert dict(again.labels) == fields["labels"]
    assert [run.points for run in again.program_runs] == [2, 2]
    tasks = {task.job_id: task for task in rpc.claim()}
    assert tasks[job.id].spec.estimator == fields["estimator"] == tasks[again.id].spec.estimator


def large() -> dict[str, Any]:
    """Return options that are too large for a job's row."""
    sums = [Observable(expression=f"{k}*X0 + Z1") for k in range(1, 600)]
    matrix = ParameterSets(names=["a", "b"], values=[k / 7 for k in range(5000)])
    own = [ProgramOptions(index=1, parameter_sets=ParameterSets(names=["c"], values=[k / 3 for k in range(3000)]))]
    return estimating(observables=sums) | {"parameter_sets": matrix, "program_options": own}


def test_large_options_are_read_by_reference(rpc: RpcFixture) -> None:
    fields = large()
    run = calls.RunJobRequest.FromString(asking(number=2, **fields).SerializeToString())
    stream = rpc.jobs.RunJob(run, timeout=WAIT)
    messages: list[Any] = [next(stream)]
    job_id = messages[0].event.job_id
    job = rpc.jobs.GetJob(calls.GetJobRequest(id=job_id), timeout=WAIT).job
    again = rpc.jobs.RerunJob(calls.RerunJobRequest(id=job_id), timeout=WAIT).job
    assert (job.estimator_reference.count, job.parameter_sets_reference.points) == (599, 2500)
    assert list(job.parameter_sets_reference.names) == ["a", "b"]
    assert job.program_options_reference.count == 1
    tasks = {task.job_id: task for task in rpc.claim()}
    for found in (job, again):
        assert [run.points for run in found.program_runs] == [2500, 3000]
        for name in ("estimator", "parameter_sets", "program_options"):
            assert not getattr(found, name) or not getattr(found, name).ByteSize()
            reference = getattr(found, f"{name}_reference")
            data = read(rpc, reference.name)
            assert (len(data), hashlib.sha256(data).hexdigest()) == (reference.size_bytes, reference.sha256)
        assert EstimatorOptions.FromString(read(rpc, found.estimator_reference.name)) == fields["estimator"]
        assert ParameterSets.FromString(read(rpc, found.parameter_sets_reference.name)) == fields["parameter_sets"]
        options = Job.FromString(read(rpc, found.program_options_reference.name)).program_options
        assert list(options) == fields["program_options"]
        task = tasks[found.id].spec
        assert task.estimator == fields["estimator"]
        assert task.parameter_sets == fields["parameter_sets"]
        assert list(task.program_options) == fields["program_options"]
        assert not task.HasField("estimator_reference")
    rpc.finish(job_id)
    messages += stream
    messages.append(rpc.jobs.GetJob(calls.GetJobRequest(id=job_id), timeout=WAIT))
    messages.append(rpc.jobs.ListJobs(calls.ListJobsRequest(page_size=1), timeout=WAIT))
    messages.append(rpc.jobs.ListJobEvents(calls.ListJobEventsRequest(job_id=job_id), timeout=WAIT))
    validated = asking(number=2, **fields)
    validated.validate_only = True
    preview = rpc.jobs.CreateJob(validated, timeout=WAIT)
    assert preview.job.estimator_reference.sha256 == job.estimator_reference.sha256
    assert [run.points for run in preview.job.program_runs] == [2500, 3000]
    assert max(message.ByteSize() for message in [*messages, preview]) < 16 * 1024
