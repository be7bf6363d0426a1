# SPDX-License-Identifier: Apache-2.0
"""Results name what they depend on, and a task with an equal provenance repeats them, on every provider."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy
import pytest

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import Task, TaskEvent, TaskProgram
from qonduit.v1.estimator_pb2 import EstimatorOptions, Observable
from qonduit.v1.job_pb2 import JobType, ProgramOptions
from qonduit.v1.noise_pb2 import NoiseModel, ReadoutError
from qonduit.v1.provenance_pb2 import Provenance
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.result_pb2 import Result
from qonduit.v1.sampler_pb2 import SamplerOptions
from qonduit.v1.simulation_pb2 import SimulationOptions
from qonduit.v1.sweep_pb2 import ParameterSets
from qonduit_server.languages.registry import Languages
from qonduit_server.providers import registry
from qonduit_server.worker.runner import Runner
from tests.universal_providers import universal_providers

QASM3 = AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3
HEADER = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'
SPREAD = HEADER + "qubit[8] q; bit[8] c; h q; c = measure q;"
#: Its bits decide gates, so that every provider runs it in another way than `SPREAD`.
BRANCHING = HEADER + (
    "qubit[2] q; bit[6] c;"
    + "".join(f"h q[0]; c[{k}] = measure q[0]; if (c[{k}]) {{ ry(0.7) q[1]; }}" for k in range(5))
    + "c[5] = measure q[1];"
)
ROTATED = HEADER + "input float a; qubit[2] q; bit[2] c; ry(a) q[0]; cx q[0], q[1]; c = measure q;"


@pytest.fixture(scope="module", params=universal_providers())
def runner(request: pytest.FixtureRequest) -> Runner:
    """A runner of each provider."""
    made = Runner(registry.get(request.param), Languages())
    made.load()
    return made


@pytest.fixture(scope="module")
def ibm() -> Runner:
    """A runner of one provider."""
    made = Runner(registry.get("IBM"), Languages())
    made.load()
    return made


@dataclass
class Ran:
    """What a task emitted."""

    events: list[TaskEvent] = field(default_factory=list)

    @property
    def results(self) -> Sequence[Result]:
        return list(self._results())

    def _results(self) -> Iterator[Result]:
        for event in self.events:
            yield from (each.result for each in event.points_done.results)
            if event.program_succeeded.HasField("result"):
                yield event.program_succeeded.result
            yield from (each.result for each in event.program_succeeded.further)

    @property
    def failure(self) -> tuple[str, str]:
        (failure,) = (event.finished.failure for event in self.events if event.HasField("finished"))
        return failure.reason, failure.message

    @property
    def seed(self) -> int:
        (seed,) = {each.provenance.seed for each in self.results if each.HasField("provenance")}
        return seed

    def numbers(self) -> list[object]:
        """Return the counts and values of all results, which must not depend on times."""
        assert not any(event.HasField("program_failed") for event in self.events)
        assert self.results
        return [getattr(each, each.WhichOneof("result_dict") or "") for each in self.results]


def run(runner: Runner, *texts: str, device: str = "", points_done: int = 0, scope: str = "", **spec: object) -> Ran:
    assert runner.provider is not None
    task = Task(
        job_id=1,
        attempt=1,
        provider=runner.provider.name,
        device=device or next(iter(runner.devices)),
        programs=[TaskProgram(language=QASM3, text=text, points_done=points_done) for text in texts],
        cache_scope=scope,
        spec=JobSpec(**{"type": JobType.JOB_TYPE_RUNNER, "shots": 400, **spec}),  # type: ignore[arg-type]
    )
    ran = Ran()
    runner.run(task, ran.events.append)
    return ran


@pytest.mark.parametrize(
    "spec",
    [
        {"type": JobType.JOB_TYPE_RUNNER},
        {"type": JobType.JOB_TYPE_SAMPLER, "sampler": SamplerOptions(per_shot=True)},
        {
            "type": JobType.JOB_TYPE_ESTIMATOR,
            "estimator": EstimatorOptions(observables=[Observable(expression="X0*X1 + Z0")]),
        },
    ],
    ids=["RUNNER", "SAMPLER", "ESTIMATOR"],
)
def test_a_task_without_a_seed_is_repeated_with_the_seed_that_its_results_name(
    runner: Runner, spec: dict[str, object]
) -> None:
    programs = [BRANCHING.replace("c[5] = measure q[1];", "") if "estimator" in spec else BRANCHING, SPREAD]
    if "estimator" in spec:
        programs = [SPREAD, SPREAD]
    first, other = run(runner, *programs, **spec), run(runner, *programs, **spec)
    assert first.seed != other.seed
    assert first.numbers() != other.numbers()
    assert run(runner, *programs, seed=first.seed, **spec).numbers() == first.numbers()


def test_the_seed_that_the_server_drew_is_used_and_the_one_of_the_job_wins(ibm: Runner) -> None:
    drawn = run(ibm, SPREAD, drawn_seed=5)
    assert drawn.seed == 5
    assert drawn.numbers() == run(ibm, SPREAD, seed=5).numbers()
    assert run(ibm, SPREAD, drawn_seed=5, seed=6).seed == 6


def test_a_result_names_program_device_versions_and_options(ibm: Runner) -> None:
    noise = NoiseModel(readout_errors=[ReadoutError(prob_1_given_0=0.1, prob_0_given_1=0.1)])
    own = NoiseModel(readout_errors=[ReadoutError(prob_1_given_0=0.2, prob_0_given_1=0.1)])
    ran = run(
        ibm,
        SPREAD,
        BRANCHING,
        seed=9,
        simulation=SimulationOptions(method="density_matrix"),
        noise_model=noise,
        program_options=[ProgramOptions(index=1, noise_model=own)],
    )
    first, second = (each.provenance for each in ran.results)
    assert first.program_sha256 == hashlib.sha256(SPREAD.encode()).hexdigest()
    assert second.program_sha256 == hashlib.sha256(BRANCHING.encode()).hexdigest()
    assert (first.device, first.calibration_sha256, first.seed) == ("IBM/aer_simulator", "", 9)
    assert first.versions["numpy"] == numpy.__version__
    assert {"qonduit-quantum", "qiskit", "qiskit-aer"} <= set(first.versions)
    assert first.simulation.method == "density_matrix"
    assert [each.noise_model_sha256 for each in (first, second)] == [
        hashlib.sha256(each.SerializeToString(deterministic=True)).hexdigest() for each in (noise, own)
    ]
    assert max(first.ByteSize(), second.ByteSize()) < 400


def test_the_library_of_a_device_is_among_its_versions(runner: Runner) -> None:
    names = {"IBM": "qiskit-aer", "AWS": "amazon-braket-default-simulator", "GOOGLE": "cirq-core"}
    (result,) = run(runner, SPREAD, shots=1).results
    assert runner.provider is not None
    assert result.provenance.versions[names[runner.provider.name]]


def test_a_result_of_a_shaped_device_names_its_calibration(ibm: Runner) -> None:
    assert ibm.provider is not None
    (calibrated, *_) = ibm.provider.describe().calibrations
    (result,) = run(ibm, SPREAD.replace("[8]", "[2]"), device=calibrated.device, shots=10).results
    data = calibrated.calibration.SerializeToString(deterministic=True)
    assert result.provenance.calibration_sha256 == hashlib.sha256(data).hexdigest()
    assert "qiskit-ibm-runtime" in result.provenance.versions


def test_of_a_sweep_the_first_point_of_each_attempt_has_the_provenance(ibm: Runner) -> None:
    sets = ParameterSets(names=["a"], values=[k / 10 for k in range(10)])
    results = run(ibm, ROTATED, parameter_sets=sets, seed=1).results
    assert [each.point for each in results if each.HasField("provenance")] == [0]
    resumed = run(ibm, ROTATED, parameter_sets=sets, seed=1, points_done=4).results
    assert [each.point for each in resumed if each.HasField("provenance")] == [4]


def test_a_task_is_refused_where_what_it_requires_has_changed(ibm: Runner) -> None:
    own = run(ibm, SPREAD, seed=4)
    required = Provenance(seed=4, device="IBM/aer_simulator", versions=own.results[0].provenance.versions)
    again = run(ibm, SPREAD, seed=4, required_provenance=required)
    assert again.numbers() == own.numbers()
    required.versions["qiskit-aer"] = "0.1"
    required.calibration_sha256 = "ab"
    refused = run(ibm, SPREAD, seed=4, required_provenance=required)
    reason, message = refused.failure
    assert reason == "NOT_REPRODUCIBLE"
    aer = own.results[0].provenance.versions["qiskit-aer"]
    assert f"the version of qiskit-aer was 0.1 and is {aer} now" in message
    assert "the hash of its calibration was ab and is none now" in message
    assert not refused.results
