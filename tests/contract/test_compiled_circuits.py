# SPDX-License-Identifier: Apache-2.0
"""Compiled circuits as further results: what the device runs, or the reason why it cannot be written."""

from __future__ import annotations

import hashlib
import re

import pytest

from qonduit.execution.v1.task_pb2 import FurtherResult
from qonduit.v1.estimator_pb2 import EstimatorOptions, Observable
from qonduit.v1.job_pb2 import JobType
from qonduit.v1.noise_pb2 import GateError, NoiseChannel, NoiseModel
from qonduit.v1.result_pb2 import ResultType
from qonduit.v1.sweep_pb2 import ParameterSets
from qonduit_server.languages.registry import Languages
from qonduit_server.providers import registry
from qonduit_server.worker.runner import Runner
from tests.contract.test_provenance import HEADER, ROTATED, Ran, run
from tests.universal_providers import universal_providers

PROGRAM = HEADER + "qubit[3] q; bit[3] c; ry(0.7) q[0]; cx q[0], q[2]; ccx q[0], q[2], q[1]; c = measure q;"
FAKE = "fake_manila"


@pytest.fixture(scope="module")
def ibm() -> Runner:
    """A runner of one provider."""
    made = Runner(registry.get("IBM"), Languages())
    made.load()
    return made


def compiled(ran: Ran) -> list[FurtherResult]:
    """Return the compiled circuits of the first program, with their buffers."""
    done = [each for event in ran.events for each in event.program_succeeded.further]
    done += [each for event in ran.events for each in event.points_done.results]
    return [each for each in done if each.result.HasField("compiled_circuit")]


def text_of(ran: Ran) -> str:
    (found,) = compiled(ran)
    assert found.result.result_type == ResultType.RESULT_TYPE_COMPILED_CIRCUIT
    assert not found.result.meta_data.fields
    return found.result.compiled_circuit.text


@pytest.mark.parametrize("name", universal_providers())
def test_the_circuit_of_a_simulator_gives_the_counts_of_the_program(name: str) -> None:
    runner = Runner(registry.get(name), Languages())
    ran = run(runner, PROGRAM, seed=3, include_compiled_circuit=True)
    again = run(runner, text_of(ran), seed=3)
    assert again.numbers() == [ran.numbers()[0]]
    assert not compiled(run(runner, PROGRAM, seed=3))


def test_the_circuit_of_a_shaped_device_has_its_gates_on_its_qubits(ibm: Runner) -> None:
    text = text_of(run(ibm, PROGRAM, device=FAKE, seed=3, include_compiled_circuit=True))
    assert "qubit[5]" in text
    gates = set(re.findall(r"^(\w+)(?:\(.*?\))? q", text, re.MULTILINE)) - {"barrier"}
    assert gates <= {"cx", "rz", "sx", "x"}
    pairs = {tuple(sorted(map(int, pair))) for pair in re.findall(r"^cx q\[(\d)\], q\[(\d)\]", text, re.MULTILINE)}
    assert pairs
    assert pairs <= {(0, 1), (1, 2), (2, 3), (3, 4)}
    # It runs as it is.
    assert text_of(run(ibm, text, device=FAKE, seed=3, include_compiled_circuit=True)) == text


def test_a_circuit_that_cannot_be_written_is_a_remark_and_no_failure(ibm: Runner) -> None:
    google = Runner(registry.get("GOOGLE"), Languages())
    noise = NoiseModel(gate_errors=[GateError(gates=["cx"], channel=NoiseChannel(amplitude_damping=0.1))])
    for ran, reason in (
        (run(google, PROGRAM, device="rainbow", include_compiled_circuit=True), "the compiler of GOOGLE/rainbow"),
        (run(ibm, PROGRAM, noise_model=noise, include_compiled_circuit=True), "OpenQASM 3"),
    ):
        (found,) = compiled(ran)
        assert not found.result.compiled_circuit.text
        remark = found.result.meta_data.fields["remark"].string_value
        assert remark.startswith("the circuit cannot be written as OpenQASM 3: ")
        assert reason in remark
        assert ran.results[0].counts_and_probabilities.counts


def test_of_a_sweep_the_first_point_has_its_circuit(ibm: Runner) -> None:
    sets = ParameterSets(names=["a"], values=[0.25, 0.5, 0.75])
    ran = run(ibm, ROTATED, parameter_sets=sets, include_compiled_circuit=True)
    assert [each.result.point for each in compiled(ran)] == [0]
    assert "ry(0.25) q[0];" in text_of(ran)


def test_an_estimator_returns_its_circuit_without_measurements(ibm: Runner) -> None:
    options = EstimatorOptions(observables=[Observable(expression="Z0")])
    text = text_of(run(ibm, PROGRAM, type=JobType.JOB_TYPE_ESTIMATOR, estimator=options, include_compiled_circuit=True))
    assert "ccx q[0], q[2], q[1];" in text
    assert "measure" not in text


def test_an_estimator_with_gradients_returns_the_circuit_of_its_first_point(ibm: Runner) -> None:
    options = EstimatorOptions(observables=[Observable(expression="Z0")], exact=True, gradient=True)
    sets = ParameterSets(names=["a"], values=[0.25, 0.5])
    ran = run(
        ibm,
        ROTATED,
        type=JobType.JOB_TYPE_ESTIMATOR,
        estimator=options,
        parameter_sets=sets,
        include_compiled_circuit=True,
    )
    assert "ry(0.25) q[0];" in text_of(ran)


def test_a_long_circuit_goes_to_a_buffer(ibm: Runner) -> None:
    gates = "".join(f"rx({k}.5) q[0];" for k in range(8_000))
    program = HEADER + f"qubit[1] q; bit[1] c; {gates} c = measure q;"
    (found,) = compiled(run(ibm, program, include_compiled_circuit=True))
    reference = found.result.buffer
    assert (reference.rows, reference.size_bytes) == (len(found.buffer), len(found.buffer))
    assert reference.sha256 == hashlib.sha256(found.buffer).hexdigest()
    assert [(column.name, column.width) for column in reference.columns] == [("text", 1)]
    assert found.buffer.decode().count("rx(") == 8_000
