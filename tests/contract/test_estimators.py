# SPDX-License-Identifier: Apache-2.0
"""ESTIMATOR jobs on every device: exact values equal a density-matrix reference, sampled ones agree with it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from google.protobuf.json_format import ParseDict

from qonduit.v1.estimator_pb2 import EstimatorOptions, Observable, PauliTerms
from qonduit.v1.job_pb2 import ProgramOptions, StopCondition
from qonduit.v1.noise_pb2 import NoiseModel
from qonduit.v1.result_pb2 import ResultType
from qonduit.v1.simulation_pb2 import SimulationOptions
from qonduit_server.ir.circuit import Circuit
from qonduit_server.worker.preparation import Preparation
from tests.contract.observed_programs import OBSERVABLES, Observed, observed_programs, text
from tests.contract.worker_jobs import ESTIMATOR, HEADER3, WorkerJob, estimate, observable, sets

DEVICES = [
    "IBM/aer_simulator",
    "AWS/local_simulator",
    "AWS/braket_dm",
    "GOOGLE/cirq_simulator",
    "GOOGLE/cirq_density_matrix",
    "GOOGLE/qsim_simulator",
    "STIM/stim",
]
#: Devices without noise of the job.
PURE = ("AWS/local_simulator", "GOOGLE/qsim_simulator")
SHAPED = ["IBM/fake_manila", "GOOGLE/rainbow"]
AER = "IBM/aer_simulator"
TEXTS = [each for each, _ in OBSERVABLES]
PROGRAMS = {each.name: each for each in observed_programs()}
SHOTS = 4000
#: A rotation of two parameters, which do not act alike, and an array.
TURNS = HEADER3 + (
    "input float a; input array[float, 2] b; qubit[2] q; bit[2] c; "
    "ry(a) q[0]; rx(2 * b[0]) q[1]; cx q[0], q[1]; rz(b[1] + a) q[1]; ry(0.3) q[1]; c = measure q;"
)
POINTS = {"a": [0.3, 1.1, -2.0], "b__0": [0.2, 0.7, 1.4], "b__1": [-0.6, 0.1, 2.2]}


def runs(device: str, program: Observed) -> bool:
    """Return whether a device runs a program."""
    if device == "STIM/stim":
        return program.clifford
    return not (program.noise and device in PURE)


def noisy(program: Observed) -> dict[str, Any]:
    return {"noise_model": ParseDict(program.noise, NoiseModel())} if program.noise else {}


@pytest.mark.parametrize("device", DEVICES)
def test_exact_values_equal_the_reference(device: str) -> None:
    tested = 0
    for program in PROGRAMS.values():
        if not runs(device, program):
            continue
        job = estimate(device, program.program, *TEXTS, exact=True, **noisy(program))
        if job.failures:
            # A device that cannot be exact refuses: only those that run shot by shot.
            assert job.failures[0].reason == "NO_EXACT_VALUES", (program.name, job.failures)
            assert "estimator.precision" in job.failures[0].message
            continue
        tested += 1
        found = job.values()
        wanted = [program.exact(each) for _, each in OBSERVABLES]
        assert list(found.values) == pytest.approx(wanted, abs=1e-9), program.name
        assert found.exact
        assert set(found.standard_errors) == {0.0}
        assert set(found.shots) == {0}
        ends = np.reshape(found.confidence_intervals, (-1, 2))
        assert ends[:, 0].tolist() == ends[:, 1].tolist() == list(found.values)
        assert found.variances[3] == pytest.approx(program.variance(OBSERVABLES[3][1]), abs=1e-8), program.name
    assert tested >= (0 if device == "STIM/stim" else 2)


def test_which_programs_have_exact_values() -> None:
    """Noise is exact on density matrices, whatever the number of shots."""
    for device in (AER, "AWS/braket_dm", "GOOGLE/cirq_density_matrix"):
        for name in ("pure", "readout", "noise"):
            job = estimate(device, PROGRAMS[name].program, "Z0", exact=True, **noisy(PROGRAMS[name]))
            assert not job.failures, (device, name)


def test_single_precision_is_labelled_and_close() -> None:
    program = PROGRAMS["pure"]
    simulation = SimulationOptions(floating_point="single")
    job = estimate(AER, program.program, *TEXTS, exact=True, simulation=simulation)
    wanted = [program.exact(each) for _, each in OBSERVABLES]
    assert list(job.values().values) == pytest.approx(wanted, abs=1e-5)
    assert job.results()[0].meta_data["floating_point"] == "single"


@pytest.mark.parametrize("device", DEVICES)
def test_sampled_values_are_within_five_standard_errors(device: str) -> None:
    for program in PROGRAMS.values():
        if not runs(device, program):
            continue
        job = estimate(device, program.program, *TEXTS, shots=SHOTS, **noisy(program))
        found = job.values()
        assert not found.exact
        ends = np.reshape(found.confidence_intervals, (-1, 2))
        for place, (_, terms) in enumerate(OBSERVABLES):
            wanted = program.exact(terms)
            error = found.standard_errors[place]
            assert abs(found.values[place] - wanted) <= 5 * error + 1e-12, (program.name, terms)
            assert ends[place][0] <= found.values[place] <= ends[place][1]
        # The terms of this one are measured together: their covariance counts.
        variance = program.variance(OBSERVABLES[3][1])
        assert found.variances[3] == pytest.approx(variance, rel=0.25, abs=0.02), program.name
        assert found.standard_errors[3] == pytest.approx(math.sqrt(found.variances[3] / SHOTS), rel=1e-6)
        assert (found.values[4], found.standard_errors[4], found.shots[4]) == (-0.75, 0.0, 0)
        assert job.results()[0].meta_data["seed"] == 11


@pytest.mark.parametrize("device", SHAPED)
def test_shaped_devices_estimate_what_their_counts_give(device: str) -> None:
    program = text("ry(0.9) q[0];", "cx q[0],q[1];", "x q[2];", "measure q[0] -> c0[0];")
    job = estimate(device, program, "Z0*Z1 + 0.5*Z2", "X0*X1", shots=2000)
    found = job.values()
    measured = program.replace(
        "measure q[0] -> c0[0];", "measure q[0] -> c0[0];measure q[1] -> c1[0];measure q[2] -> c2[0];"
    )
    (counts,) = WorkerJob(device, measured, type=1, shots=2000).counts()
    total = 0.0
    for key, number in counts.items():
        bits = [int(each, 16) for each in key.split()][::-1]
        total += number * ((-1) ** (bits[0] + bits[1]) + 0.5 * (-1) ** bits[2])
    assert abs(total / 2000 - found.values[0]) <= 7 * found.standard_errors[0]
    # The order of qubits: X0*X1 is sin(0.9) without noise, and Z2 is -1.
    assert found.values[1] == pytest.approx(math.sin(0.9), abs=0.3)
    assert found.values[0] == pytest.approx(0.5, abs=0.4)


def test_packed_terms_equal_text() -> None:
    program = PROGRAMS["pure"]
    packed = Observable(
        terms=PauliTerms(coefficients=[1.0, -2.0, 0.3], x_masks=b"\2\3\0", z_masks=b"\6\6\2", num_qubits=3)
    )
    found = estimate(AER, program.program, packed, TEXTS[2], exact=True).values()
    assert found.values[0] == pytest.approx(found.values[1], abs=1e-12)


def test_values_of_terms() -> None:
    program = PROGRAMS["pure"]
    for options in ({"exact": True}, {"shots": SHOTS}):
        job = estimate(AER, program.program, *TEXTS[:3], per_term=True, **options)
        values, terms = job.results()
        assert terms.result_type == ResultType.RESULT_TYPE_TERM_VALUES
        assert list(terms.term_values.num_terms) == [3, 1, 3]
        found = list(terms.term_values.values)
        coefficients = [c for _, each in OBSERVABLES[:3] for c, _ in each]
        parts = [c * value for c, value in zip(coefficients, found, strict=True)]
        sums = [sum(parts[:3]), parts[3], sum(parts[4:])]
        assert sums == pytest.approx(list(values.expectation_values.values), abs=1e-9)
        exact = [program.exact([(1, letters)]) for _, each in OBSERVABLES[:3] for _, letters in each]
        assert found == pytest.approx(exact, abs=1e-9 if "exact" in options else 0.1)


def test_a_precision_is_reached_in_two_stages() -> None:
    program = PROGRAMS["pure"]
    for seed in range(3):
        job = estimate(AER, program.program, *TEXTS, precision=0.02, seed=seed)
        found = job.values()
        assert max(found.standard_errors) <= 0.02 * 1.15
        for place, (_, terms) in enumerate(OBSERVABLES):
            assert abs(found.values[place] - program.exact(terms)) <= 5 * 0.02 * 1.15
        # The norm of the whole observable decides: the second one needs fewer shots than the first.
        assert 1000 < found.shots[1] < found.shots[2]
    # A certain outcome needs the pilot and a little more, not the shots of its bound.
    certain = estimate(AER, text("x q[0];"), "Z0", precision=0.01).values()
    assert (certain.values[0], certain.standard_errors[0]) == (-1.0, 0.0)
    assert certain.shots[0] < 10_000


def test_an_unreachable_precision_names_the_shots_it_needs() -> None:
    job = estimate(AER, PROGRAMS["pure"].program, "X0*X1", precision=0.001, shots=5000)
    failure = job.failures[0]
    assert failure.reason == "PRECISION_UNREACHABLE"
    needed = int(failure.message.split("about ")[1].split()[0])
    wanted = PROGRAMS["pure"].variance([(1, {0: "X", 1: "X"})]) / 0.001**2
    assert needed == pytest.approx(wanted, rel=0.5)
    assert "5000" in failure.message
    reached = estimate(AER, PROGRAMS["pure"].program, "X0*X1", precision=0.001, shots=2 * needed).values()
    assert reached.standard_errors[0] <= 0.00115


def test_a_stop_condition_ends_each_point_when_its_errors_are_small() -> None:
    found = estimate(
        AER, TURNS, "Z0", "X0*X1", shots=100_000, parameter_sets=sets(**POINTS),
        stop_when=StopCondition(standard_error=0.02),
    )  # fmt: skip
    values = found.values()
    assert found.results()[0].partial
    assert max(values.standard_errors) <= 0.02
    shots = set(values.shots)
    assert max(shots) < 10_000
    assert all(math.log2(each / 128).is_integer() for each in shots)
    whole = estimate(AER, TURNS, "Z0", shots=1000, parameter_sets=sets(**POINTS)).results()[0]
    assert not whole.partial
    never = estimate(AER, PROGRAMS["pure"].program, "2", "X0", shots=500, stop_when=StopCondition(standard_error=1e-9))
    assert not never.results()[0].partial
    assert list(never.values().shots) == [0, 500]
    constant = estimate(AER, PROGRAMS["pure"].program, "2", shots=500, stop_when=StopCondition(standard_error=1e-9))
    assert not constant.results()[0].partial


def test_equal_seeds_give_equal_values_and_other_groups_other_draws() -> None:
    def values(**options: Any) -> list[float]:
        return list(estimate(AER, TURNS, "X0", "Z0", "Y1", parameter_sets=sets(**POINTS), **options).values().values)

    for options in (
        {"shots": 300},
        {"precision": 0.1},
        {"shots": 3000, "stop_when": StopCondition(standard_error=0.05)},
    ):
        assert values(seed=5, **options) == values(seed=5, **options) != values(seed=6, **options)
    # Three groups of the same distribution: equal draws would show equal seeds.
    plus = text(*(f"ry(0.7853981633974483) q[{k}];" for k in range(3)))
    for options in (
        {"shots": 999},
        {"precision": 0.03},
        {"shots": 4096, "stop_when": StopCondition(standard_error=0.02)},
    ):
        found = estimate(AER, plus, "X0", "Z0", **options).values()
        assert found.values[0] != found.values[1]
    drawn = estimate(AER, plus, "X0", shots=999, seed=None).results()[0]
    again = estimate(AER, plus, "X0", shots=999, seed=int(drawn.meta_data["seed"])).results()[0]
    assert drawn.expectation_values.values == again.expectation_values.values


@pytest.mark.parametrize("device", [each for each in DEVICES if each != "STIM/stim"])
def test_sweeps_equal_single_points(device: str) -> None:
    swept = estimate(device, TURNS, "X0*Z1 + 0.2", "Y1", exact=True, parameter_sets=sets(**POINTS)).values()
    assert (swept.num_points, swept.num_observables) == (3, 2)
    for point in range(3):
        inputs = {"a": POINTS["a"][point], "b": [POINTS["b__0"][point], POINTS["b__1"][point]]}
        alone = estimate(device, TURNS, "X0*Z1 + 0.2", "Y1", exact=True, inputs=inputs).values()
        assert swept.values[2 * point : 2 * point + 2] == pytest.approx(list(alone.values), abs=1e-9)


@pytest.mark.parametrize("device", [each for each in DEVICES if each != "STIM/stim"])
@pytest.mark.parametrize("noise", [False, True])
def test_gradients_equal_finite_differences(device: str, noise: bool) -> None:
    """By adjoint differentiation where there is a state, else by parameter shift."""
    if noise and device in PURE:
        return
    step = 1e-5
    names = list(POINTS)
    base = [POINTS[name][1] for name in names]
    rows = [base] + [
        [value + sign * step * (place == other) for other, value in enumerate(base)]
        for place in range(3)
        for sign in (1, -1)
    ]
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    model = ParseDict({"gateErrors": [{"gates": ["cx"], "channel": {"depolarizing": 0.1}}]}, NoiseModel())
    more = {"noise_model": model} if noise else {}
    job = estimate(device, TURNS, "X0*Z1 + 0.2*Y1", "Y1", exact=True, parameter_sets=sets(**columns), **more)
    if noise and job.failures:
        assert job.failures[0].reason == "NO_EXACT_VALUES"
        return
    values = np.reshape(job.values().values, (7, 2))
    wanted = [(values[1 + 2 * place] - values[2 + 2 * place]) / (2 * step) for place in range(3)]
    point = sets(**{name: [value] for name, value in zip(names, base, strict=True)})
    job = estimate(device, TURNS, "X0*Z1 + 0.2*Y1", "Y1", exact=True, gradient=True, parameter_sets=point, **more)
    found = job.values()
    assert list(found.parameters) == ["a", "b[0]", "b[1]"]
    assert pytest.approx(np.array(wanted), abs=1e-6) == np.reshape(found.gradients, (2, 3)).T


@pytest.mark.parametrize("device", [each for each in DEVICES if each != "STIM/stim"])
def test_values_beside_gradients_are_those_of_a_job_without_gradients(device: str) -> None:
    """They come from the states of the gradients, so that each point must have its own."""
    options: dict[str, Any] = {"exact": True, "per_term": True, "parameter_sets": sets(**POINTS)}
    with_gradient = estimate(device, TURNS, "X0*Z1 + 0.2*Y1", "Y1", gradient=True, **options).values()
    plain = estimate(device, TURNS, "X0*Z1 + 0.2*Y1", "Y1", **options).values()
    assert len(set(plain.values)) == 6
    tolerance = 1e-5 if device == "GOOGLE/qsim_simulator" else 1e-9
    assert list(with_gradient.values) == pytest.approx(list(plain.values), abs=tolerance)
    assert list(with_gradient.variances) == pytest.approx(list(plain.variances), abs=tolerance)


def test_sampled_gradients_agree_with_exact_ones() -> None:
    exact = estimate(AER, TURNS, "X0*Z1", exact=True, gradient=True, parameter_sets=sets(**POINTS)).values()
    found = estimate(AER, TURNS, "X0*Z1", shots=SHOTS, gradient=True, parameter_sets=sets(**POINTS)).values()
    assert len(found.gradients) == 9
    # A derivative is a sum of a few values with standard errors of at most 1 / sqrt(shots).
    assert list(found.gradients) == pytest.approx(list(exact.gradients), abs=12 / math.sqrt(SHOTS))


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("compile_only", [True, False])
def test_programs_without_a_gradient_are_refused(exact: bool, compile_only: bool) -> None:
    middle = HEADER3 + "input float a; qubit[2] q; bit c; ry(a) q[0]; c = measure q[0]; if (c) { x q[1]; } h q[0];"
    deciding = HEADER3 + "input float a; qubit[1] q; if (a > 0) { x q[0]; } ry(a) q[0];"
    for program, why in ((middle, "measures in the middle"), (deciding, "decide more than the angles")):
        job = estimate(
            AER, program, "Z0", gradient=True, parameter_sets=sets(a=[0.1, 0.2]), compile_only=compile_only,
            **({"exact": True} if exact else {"shots": 100}),
        )  # fmt: skip
        failure = job.failures[0]
        assert failure.reason == "NOT_DIFFERENTIABLE"
        assert failure.message.startswith("job.estimator.gradient: ")
        assert why in failure.message
        # Without gradient it runs.
        assert not estimate(AER, program, "Z0", shots=100, parameter_sets=sets(a=[0.1, 0.2])).failures


@pytest.mark.parametrize("compile_only", [True, False])
def test_wrong_observables_and_names_are_refused(compile_only: bool) -> None:
    def reason(*observables: str, **options: Any) -> str:
        job = estimate(AER, TURNS, *observables, exact=True, compile_only=compile_only, **options)
        return job.failures[0].message

    inputs = {"a": 0.1, "b": [0.1, 0.2]}
    assert "job.estimator.observables[1] acts on qubit 2 of the program: it has 2" in reason("Z0", "X2", inputs=inputs)
    assert "'nope'" in reason("Z0", inputs=inputs, parameter_sets=sets(nope=[1.0]))
    assert "'b[2]'" in reason("Z0", inputs={"a": 0.1}, parameter_sets=sets(b__0=[0.0], b__1=[0.0], b__2=[0.0]))
    assert not estimate(AER, TURNS, "Z1", exact=True, compile_only=compile_only, inputs=inputs).failures


def test_a_program_is_compiled_with_its_circuits_counted() -> None:
    job = estimate(AER, TURNS, "Z0", "X0", "Y1", shots=10, parameter_sets=sets(**POINTS), compile_only=True)
    (compiled,) = job.compiled
    assert compiled.circuits == 3 * 2  # X0 and Y1 are measured together
    assert (compiled.num_qubits, compiled.two_qubit_gates) == (2, 1)


def test_options_of_one_program_replace_those_of_the_job() -> None:
    own = EstimatorOptions(observables=[observable("X0")], exact=True)
    noise = ParseDict({"readoutErrors": [{"prob0Given1": 0.5}]}, NoiseModel())
    job = WorkerJob(
        AER, text("x q[0];"), text("h q[0];"), text("x q[0];"), text("x q[0];"),
        type=ESTIMATOR, shots=100,
        estimator=EstimatorOptions(observables=[observable("Z0")]),
        program_options=[
            ProgramOptions(index=1, estimator=own),
            ProgramOptions(index=2, shots=7),
            ProgramOptions(index=3, noise_model=noise, shots=4000),
        ],
    )  # fmt: skip
    assert (job.values(0).values[0], job.values(0).shots[0], job.values(0).exact) == (-1.0, 100, False)
    assert job.values(1).values[0] == pytest.approx(1.0, abs=1e-12)
    assert job.values(1).exact
    assert job.values(2).shots[0] == 7
    assert abs(job.values(3).values[0]) < 0.1


def test_estimates_of_many_points_are_a_buffer() -> None:
    points = {"a": np.linspace(0, 3, 160), "b__0": np.zeros(160), "b__1": np.zeros(160)}
    options: dict[str, Any] = {"exact": True, "parameter_sets": sets(**points)}
    job = estimate(AER, TURNS, *["Z0", "X0", "Z1", "Y0*Y1", "Z0*Z1"] * 8, **options)
    result, buffer = job.results()[0], job.buffers[0]
    assert not result.expectation_values.values
    assert [column.name for column in result.buffer.columns][:2] == ["value", "standard_error"]
    rows = np.frombuffer(buffer, dtype=">f8").reshape(160, 40, 7)
    assert rows[:, 0, 0] == pytest.approx(np.cos(points["a"]), abs=1e-9)
    assert estimate(AER, TURNS, "Z0", max_result_bytes=1000, **options).failures[0].reason == "RESULT_TOO_LARGE"


@pytest.mark.parametrize("points", [{}, POINTS])
def test_groups_share_the_circuit_with_noise(monkeypatch: pytest.MonkeyPatch, points: dict[str, list[float]]) -> None:
    """The noise of the job is added to the program once, and once to measurements: not for each group or point."""
    added: list[int] = []
    with_noise = Preparation.with_noise

    def count(self: Preparation, index: int, circuit: Circuit) -> Circuit:
        added.append(len(circuit.quantum.data))
        return with_noise(self, index, circuit)

    monkeypatch.setattr(Preparation, "with_noise", count)
    noise = ParseDict({"gate_errors": [{"gates": ["ry"], "channel": {"bit_flip": 0.07}}]}, NoiseModel())
    named = {"parameter_sets": sets(**points)} if points else {"inputs": {"a": 0.3, "b": [0.2, -0.6]}}
    job = estimate(AER, TURNS, "X0*X1 + Z0*Z1 + Y0*Y1", shots=500, noise_model=noise, **named)
    assert not job.failures
    assert len(job.values().values) == (3 if points else 1)
    assert len(added) == 2
