# SPDX-License-Identifier: Apache-2.0
"""Sweeps on every device: a point gives what the program gives that is submitted with the point's values."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from typing import Final

import numpy as np
import pytest

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import Task, TaskEvent, TaskProgram
from qonduit.v1.estimator_pb2 import EstimatorOptions, Observable
from qonduit.v1.job_pb2 import JobType
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.result_pb2 import Result
from qonduit.v1.sampler_pb2 import SamplerOptions
from qonduit_server.languages.registry import Languages
from qonduit_server.providers import registry
from qonduit_server.providers.provider import SEED_STRIDE, SimulatorProvider
from qonduit_server.worker.program_cache import ProgramCache
from qonduit_server.worker.runner import Runner

#: Every simulator that runs any gate, with the most qubits of the probes.
DEVICES: Final = (
    "IBM/aer_simulator", "GOOGLE/cirq_simulator", "GOOGLE/cirq_density_matrix", "GOOGLE/qsim_simulator",
    "AWS/local_simulator", "AWS/braket_dm",
)  # fmt: skip
EXACT_STATES: Final = ("IBM/aer_simulator", "GOOGLE/cirq_simulator", "AWS/local_simulator")
NAMES: Final = ("b", "a", "unused")
SEED: Final = 11
HEADER: Final = 'OPENQASM 3.0; include "stdgates.inc"; input float a; input float b; input float unused;'
#: Gates with angles over a and b, by their number of qubits.
GATES: Final = (
    ("rx(a) {0};", 1), ("ry(b - 0.3) {0};", 1), ("rz(2 * a + b) {0};", 1), ("p(a * b) {0};", 1),
    ("U(a, b, 0.2) {0};", 1), ("cp(b / 3) {0}, {1};", 2), ("crx(a) {0}, {1};", 2), ("cry(sin(b)) {0}, {1};", 2),
    ("crz(-a) {0}, {1};", 2),
    ("cu(a, 0.1, b, a - b) {0}, {1};", 2), ("mine(b) {0}, {1};", 2), ("ctrl @ mine(a) {1}, {0}, {2};", 3),
)  # fmt: skip
MINE: Final = "gate mine(t) x, y { rz(t / 2) x; cx x, y; ry(t + 0.5) y; gphase(t); cx x, y; u3(t, 0.1, -t) x; }"


@cache
def runner_of(name: str) -> Runner:
    return Runner(registry.get(name), Languages(), ProgramCache())


def events(
    device: str, text: str, spec: JobSpec, inputs: dict[str, float] | None = None, points_done: int = 0
) -> list[TaskEvent]:
    provider, name = device.split("/")
    program = TaskProgram(program_id=1, language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3, text=text)
    program.points_done = points_done
    program.inputs.update(inputs or {})  # type: ignore[arg-type]
    task = Task(job_id=1, attempt=1, provider=provider, device=name, spec=spec, programs=[program])
    task.max_result_bytes = 1 << 24
    found: list[TaskEvent] = []
    runner_of(provider).run(task, found.append)
    assert not any(event.HasField("program_failed") for event in found), found
    return found


def results(found: list[TaskEvent]) -> Iterator[Result]:
    for event in found:
        if event.HasField("points_done"):
            yield from (each.result for each in event.points_done.results)
        elif event.HasField("program_succeeded") and event.program_succeeded.HasField("result"):
            yield event.program_succeeded.result
            yield from (each.result for each in event.program_succeeded.further)


def swept(spec: JobSpec, values: np.ndarray) -> JobSpec:
    found = JobSpec()
    found.CopyFrom(spec)
    found.parameter_sets.names.extend(NAMES)
    found.parameter_sets.values.extend(values.ravel().tolist())
    return found


def alone(device: str, text: str, spec: JobSpec, point: int, row: np.ndarray) -> list[Result]:
    """Return the results of the program with values, and the seed of the point."""
    own = JobSpec()
    own.CopyFrom(spec)
    if own.HasField("seed"):
        own.seed += SEED_STRIDE * point
    return list(results(events(device, text, own, dict(zip(NAMES, row.tolist(), strict=True)))))


def probe(seed: int, qubits: int, measured: int = 0, middle: str = "") -> str:
    """Return a random program whose outcomes depend on the order of its qubits and parameters."""
    choice = random.Random(seed)
    lines = [f"ry({0.3 + 0.2 * k}) q[{k}];" for k in range(qubits)]
    for _ in range(8):
        gate, number = choice.choice([each for each in GATES if each[1] <= qubits])
        lines.append(gate.format(*(f"q[{k}]" for k in choice.sample(range(qubits), number))))
        lines.append(f"barrier q; cx q[{qubits - 1}], q[0]; t q[0];")
    lines.insert(8, middle)
    lines += [f"ry({0.9 - 0.3 * k}) q[{k}];" for k in range(qubits)]
    bits = measured or qubits
    measures = "".join(f"c[{k}] = measure q[{k % qubits}];" for k in range(bits))
    return f"{HEADER} {MINE} qubit[{qubits}] q; bit[{bits}] c; {' '.join(lines)} {measures}"


def points(seed: int, number: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-4, 4, (number, len(NAMES)))


RUNNER = JobSpec(type=JobType.JOB_TYPE_RUNNER, shots=300, seed=SEED)
EXACT = JobSpec(type=JobType.JOB_TYPE_SAMPLER, sampler=SamplerOptions(exact=True))


def counts(found: list[Result]) -> list[dict[str, int]]:
    return [dict(each.counts_and_probabilities.counts) for each in found]


def compiles_once(monkeypatch: pytest.MonkeyPatch, device: str) -> list[int]:
    """Return a list to which each compilation on a device adds."""
    provider = runner_of(device.split("/")[0]).provider
    assert provider is not None
    calls: list[int] = []
    compile_ = provider.compile

    def counted(*arguments: object) -> object:
        calls.append(1)
        return compile_(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(provider, "compile", counted)
    return calls


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("qubits", "measured", "middle"),
    [
        (3, 0, ""),
        (3, 4, ""),
        (2, 0, "c[0] = measure q[0]; if (c[0] == 1) { rx(a) q[1]; } reset q[0];"),
        (3, 12, ""),  # on Aer more bits than it saves probabilities of
    ],
)
def test_counts_are_those_of_the_program_with_inputs(
    device: str, qubits: int, measured: int, middle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, values = probe(qubits + measured, qubits, measured, middle), points(3, 3)
    calls = compiles_once(monkeypatch, device)
    found = counts(list(results(events(device, text, swept(RUNNER, values)))))
    assert len(calls) == 1
    for point, row in enumerate(values):
        assert found[point] == counts(alone(device, text, RUNNER, point, row))[0], point
    assert len({tuple(sorted(each.items())) for each in found}) == len(values)


@pytest.mark.parametrize("device", DEVICES)
def test_a_loop_that_ends_by_a_measurement_is_swept(device: str) -> None:
    body = "reset q[1]; ry(a) q[1]; c[1] = measure q[1]; rx(b) q[0];"
    text = f"{HEADER} qubit[2] q; bit[2] c; c[1] = 1; while (c[1]) {{ {body} }} c[0] = measure q[0];"
    values = points(5, 3)
    found = counts(list(results(events(device, text, swept(RUNNER, values)))))
    for point, row in enumerate(values):
        assert found[point] == counts(alone(device, text, RUNNER, point, row))[0], point


@pytest.mark.parametrize("device", DEVICES)
def test_exact_probabilities_are_those_of_the_program_with_inputs(device: str) -> None:
    for qubits, measured in ((3, 0), (3, 11)):
        text, values = probe(7, qubits, measured), points(4, 3)
        found = list(results(events(device, text, swept(EXACT, values))))
        for point, row in enumerate(values):
            (single,) = alone(device, text, EXACT, point, row)
            ours = dict(found[point].quasi_distribution.quasi_probabilities)
            theirs = dict(single.quasi_distribution.quasi_probabilities)
            assert ours == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("device", EXACT_STATES)
def test_statevectors_are_those_of_the_program_with_inputs(device: str) -> None:
    spec = JobSpec(type=JobType.JOB_TYPE_RUNNER, shots=10, seed=SEED, include_statevector=True)
    text, values = probe(8, 3), points(6, 3)
    found = [each for each in results(events(device, text, swept(spec, values))) if each.HasField("statevector")]
    assert len(found) == len(values)
    for point, row in enumerate(values):
        (_, single) = alone(device, text, spec, point, row)
        np.testing.assert_allclose(amplitudes(found[point]), amplitudes(single), atol=1e-12)


def amplitudes(result: Result) -> np.ndarray:
    return np.array(result.statevector.real) + 1j * np.array(result.statevector.imaginary)


def estimates(found: list[TaskEvent]) -> np.ndarray:
    (result,) = [event.program_succeeded.result for event in found if event.HasField("program_succeeded")]
    return np.array(result.expectation_values.values)


@pytest.mark.parametrize("device", DEVICES)
def test_estimates_are_those_of_the_program_with_inputs(device: str) -> None:
    observables = [Observable(expression=each) for each in ("0.3*X0*Y1 - Z2 + 0.5*Y0", "Z0*X2 + 0.25")]
    exact = JobSpec(type=JobType.JOB_TYPE_ESTIMATOR, estimator=EstimatorOptions(observables=observables, exact=True))
    text, values = probe(9, 3), points(7, 3)
    found = estimates(events(device, text, swept(exact, values))).reshape(len(values), -1)
    for point, row in enumerate(values):
        single = estimates(events(device, text, exact, dict(zip(NAMES, row.tolist(), strict=True))))
        assert found[point] == pytest.approx(single, abs=1e-12)
    sampled = JobSpec(
        type=JobType.JOB_TYPE_ESTIMATOR, estimator=EstimatorOptions(observables=observables), shots=2000, seed=SEED
    )
    drawn = estimates(events(device, text, swept(sampled, values))).reshape(len(values), -1)
    assert drawn == pytest.approx(found, abs=0.2)  # 6 standard errors
    assert not np.array_equal(drawn, found)


@pytest.mark.parametrize("device", ["IBM/aer_simulator", "GOOGLE/cirq_density_matrix"])
def test_noise_is_in_the_template(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = JobSpec(type=JobType.JOB_TYPE_RUNNER, shots=300, seed=SEED)
    spec.noise_model.gate_errors.add(gates=["ry", "cp"]).channel.depolarizing = 0.05
    spec.noise_model.gate_errors.add(gates=["rx", "cx"]).channel.amplitude_damping = 0.1
    readout = spec.noise_model.readout_errors.add()
    readout.prob_1_given_0, readout.prob_0_given_1 = 0.02, 0.05
    text, values = probe(10, 3), points(8, 3)
    calls = compiles_once(monkeypatch, device)
    found = counts(list(results(events(device, text, swept(spec, values)))))
    assert len(calls) == 1
    for point, row in enumerate(values):
        assert found[point] == counts(alone(device, text, spec, point, row))[0]


@pytest.mark.parametrize("device", DEVICES)
def test_a_program_that_needs_the_values_is_read_for_each_point(device: str) -> None:
    text = (
        'OPENQASM 3.0; include "stdgates.inc"; input float a; input int b; input float unused; qubit[2] q; bit[2] c; '
        "for int k in [1:b] { rx(a) q[0]; ry(k * a) q[1]; } c = measure q;"
    )
    values = np.array([[1, 0.4, 0], [3, 0.2, 0], [2, 0.9, 1]], dtype=float)
    found = counts(list(results(events(device, text, swept(RUNNER, values)))))
    for point, row in enumerate(values):
        assert found[point] == counts(alone(device, text, RUNNER, point, row))[0]


@pytest.mark.parametrize("device", ["IBM/fake_manila", "GOOGLE/rainbow"])
def test_a_shaped_device_compiles_each_point(device: str) -> None:
    text = f"{HEADER} qubit[2] q; bit[2] c; ry(a) q[0]; crx(b) q[0], q[1]; rz(a) q[1]; h q[1]; c = measure q;"
    values = points(15, 3)
    found = counts(list(results(events(device, text, swept(RUNNER, values)))))
    for point, row in enumerate(values):
        assert found[point] == counts(alone(device, text, RUNNER, point, row))[0]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("measured", [0, 12])
def test_a_job_goes_on_behind_its_points_with_the_same_counts(device: str, measured: int) -> None:
    text, values = probe(12, 2, measured), points(9, 70)
    whole = list(results(events(device, text, swept(RUNNER, values))))
    rest = list(results(events(device, text, swept(RUNNER, values), points_done=66)))
    assert [each.point for each in rest] == [66, 67, 68, 69]
    assert counts(rest) == counts(whole)[66:]


def test_a_stabilizer_simulator_takes_points_one_by_one() -> None:
    text = f"{HEADER} qubit[2] q; bit[2] c; rx(a) q[0]; ry(b) q[1]; cx q[0], q[1]; c = measure q;"
    values = np.array([[np.pi, 0, 0], [0, np.pi, 0], [np.pi / 2, np.pi, 0]])
    found = counts(list(results(events("STIM/stim", text, swept(RUNNER, values)))))
    assert [set(each) for each in found] == [{"0x2"}, {"0x3"}, {"0x1", "0x3"}]


def test_a_value_without_a_number_names_its_point() -> None:
    provider: SimulatorProvider | None = runner_of("IBM").provider
    assert provider is not None
    text = f"{HEADER} gate root(t) x {{ rx(sqrt(t)) x; }} qubit q; bit c; root(a) q; c = measure q;"
    values = np.array([[0, 1, 0], [0, -1, 0]], dtype=float)
    found: list[TaskEvent] = []
    program = TaskProgram(program_id=1, language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3, text=text)
    task = Task(
        job_id=1, attempt=1, provider="IBM", device="aer_simulator", spec=swept(RUNNER, values), programs=[program]
    )
    task.max_result_bytes = 1 << 24
    runner_of("IBM").run(task, found.append)
    (failed,) = [event.program_failed for event in found if event.HasField("program_failed")]
    assert failed.failure.reason == "INVALID_INPUT"
    assert "point 1" in failed.failure.message


@pytest.mark.parametrize("device", DEVICES)
def test_a_further_job_with_other_values_compiles_nothing(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    observables = [Observable(expression="0.3*X0*Y1 - Z2"), Observable(expression="Z0*X2 + 0.25")]
    options = EstimatorOptions(observables=observables, exact=True, gradient=True)
    jobs = [
        RUNNER,
        EXACT,
        JobSpec(type=JobType.JOB_TYPE_ESTIMATOR, estimator=options),
        JobSpec(
            type=JobType.JOB_TYPE_ESTIMATOR, estimator=EstimatorOptions(observables=observables), shots=100, seed=1
        ),
    ]
    text, values = probe(13, 3), points(10, 2)
    for spec in jobs:
        first = [each.SerializeToString() for each in bare(results(events(device, text, swept(spec, values[:1]))))]
        with monkeypatch.context() as patch:
            calls = compiles_once(patch, device)
            other = [each.SerializeToString() for each in bare(results(events(device, text, swept(spec, values[1:]))))]
            again = [each.SerializeToString() for each in bare(results(events(device, text, swept(spec, values[:1]))))]
            assert not calls
        assert again == first
        assert other != first


def bare(found: Iterator[Result]) -> Iterator[Result]:
    """Yield results without meta data, which have times, and without provenance, which has a drawn seed."""
    for each in found:
        each.ClearField("meta_data")
        each.ClearField("provenance")
        yield each


def test_what_decides_a_circuit_decides_what_is_kept_of_it() -> None:
    text, values = probe(14, 3), points(11, 1)
    other, noisy = JobSpec(), JobSpec()
    other.CopyFrom(RUNNER)
    other.simulation.method = "density_matrix"
    noisy.CopyFrom(RUNNER)
    noisy.noise_model.gate_errors.add(gates=["cx"]).channel.depolarizing = 0.3
    named = {}
    for spec in (RUNNER, other, noisy, RUNNER):
        (found,) = results(events("IBM/aer_simulator", text, swept(spec, values)))
        key = (spec.simulation.method, len(spec.noise_model.gate_errors))
        drawn = dict(found.counts_and_probabilities.counts)
        assert named.setdefault(key, drawn) == drawn
        assert found.meta_data["method"] == ("statevector" if spec is RUNNER else "density_matrix")
    swapped = swept(RUNNER, values)
    swapped.parameter_sets.names[:] = ["a", "b", "unused"]
    (found,) = results(events("IBM/aer_simulator", text, swapped))
    assert dict(found.counts_and_probabilities.counts) not in named.values()
