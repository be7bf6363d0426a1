# SPDX-License-Identifier: Apache-2.0
"""The provider of qBraid's runtime: what qBraid can name runs, and results are written as qBraid writes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import cirq
import openqasm3
import pytest
from braket.circuits import Circuit
from qbraid.runtime import (
    DeviceStatus,
    JobStateError,
    JobStatus,
    ProgramValidationError,
    QbraidRuntimeError,
    ResourceNotFoundError,
    Result,
    get_providers,
    load_job,
    load_provider,
)
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister

from qonduit_client import Client, JobFailed
from qonduit_client.qbraid import QonduitDevice, QonduitJob, QonduitJobError, QonduitProvider
from tests.server_process import Server

QASM2 = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[3]; creg c[3]; x q[0]; measure q -> c;'
#: Subroutines and loops are more than qBraid's own parser takes.
QASM3 = """OPENQASM 3.0; include "stdgates.inc"; qubit[3] q; bit[3] c;
def turn(qubit a, int n) -> bit { for int i in [1:n] { x a; } bit m = measure a; return m; }
bit first = turn(q[0], 3); c = measure q;"""


def _qiskit() -> QuantumCircuit:
    circuit = QuantumCircuit(3, 3)
    circuit.x(0)
    circuit.measure(range(3), range(3))
    return circuit


def _cirq() -> cirq.Circuit:
    qubits = cirq.LineQubit.range(3)
    return cirq.Circuit(cirq.X(qubits[0]), cirq.measure(*qubits, key="m"))


def _long(qubits: int = 22) -> QuantumCircuit:
    circuit = QuantumCircuit(qubits)
    for layer in range(60):
        for qubit in range(qubits):
            circuit.rx(0.1 + layer, qubit)
            circuit.cx(qubit, (qubit + 1) % qubits)
    circuit.measure_all()
    return circuit


PROGRAMS: dict[str, Callable[[], Any]] = {
    "qasm2": lambda: QASM2,
    "qiskit": _qiskit,
    "cirq": _cirq,
    "braket": lambda: Circuit().x(0).i(1).i(2),
    "openqasm3": lambda: openqasm3.parse(
        'OPENQASM 3.0; include "stdgates.inc"; qubit[3] q; bit[3] c; x q[0]; c = measure q;'
    ),
    "ionq": lambda: {"format": "ionq.circuit.v0", "qubits": 3, "circuit": [{"gate": "x", "target": 0}]},
}


@pytest.fixture
def device(client: Client) -> QonduitDevice:
    """Aer, by way of the provider."""
    return QonduitProvider(client).get_device("IBM/aer_simulator")


def test_qbraid_finds_the_provider_by_its_name(server: Server) -> None:
    assert "qonduit" in get_providers()
    provider = load_provider("qonduit", client=server.target)
    assert isinstance(provider, QonduitProvider)
    assert provider == QonduitProvider(server.target)
    assert {each.id for each in provider.get_devices()} >= {
        "IBM/aer_simulator",
        "AWS/local_simulator",
        "GOOGLE/cirq_simulator",
    }
    assert [each.id for each in provider.get_devices(provider_name="AWS")] == ["AWS/braket_dm", "AWS/local_simulator"]
    assert provider.get_devices(filter="is_simulator = false") == []
    with pytest.raises(ResourceNotFoundError, match="IBM/aer_simulator"):
        provider.get_device("aer")


def test_a_device_tells_what_it_is(device: QonduitDevice) -> None:
    assert device.status() == DeviceStatus.ONLINE
    assert device.simulator is True
    assert device.num_qubits
    told = device.metadata()
    assert (told["device_id"], told["provider_name"], told["status"]) == ("IBM/aer_simulator", "IBM", "ONLINE")
    assert (told["paradigm"], told["queue_depth"]) == ("gate_model", device.queue_depth())
    assert {"qasm2", "qasm3", "qiskit", "cirq", "braket"} <= set(told["runtime_config"]["target_program_type"])


@pytest.mark.parametrize("language", PROGRAMS)
def test_every_form_goes_as_it_is(language: str, device: QonduitDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    def translated(*_: object, **__: object) -> None:
        raise AssertionError("qBraid's transpiler was asked")

    monkeypatch.setattr("qbraid.runtime.device.transpile", translated)
    job = device.run(PROGRAMS[language](), shots=20)
    assert isinstance(job, QonduitJob)
    result = job.result()
    assert isinstance(result, Result)
    assert (result.success, result.device_id, result.job_id) == (True, device.id, job.id)
    assert result.data.measurement_counts == {"001": 20}  # qubit 0 last, as qBraid has it
    assert result.data.get_counts(decimal=True) == {1: 20}
    assert result.data.get_probabilities() == {"001": 1.0}
    assert result.data.to_dict()["num_measured_qubits"] == 3


def test_texts_that_qbraids_parser_does_not_take_run(device: QonduitDevice) -> None:
    assert device.run(QASM3, shots=10).result().data.get_counts() == {"1001": 10}


def test_registers_stand_in_one_key_the_last_one_first(device: QonduitDevice) -> None:
    circuit = QuantumCircuit(QuantumRegister(2), ClassicalRegister(1, "a"), ClassicalRegister(2, "b"))
    circuit.x(0)
    circuit.measure(0, 0)
    result = device.run(circuit, shots=5).result()
    assert result.data.measurement_counts == {"001": 5}
    assert result.details["registers"] == [("b", 2), ("a", 1)]


def test_a_list_gives_a_job_for_each(device: QonduitDevice) -> None:
    circuit = QuantumCircuit(3)
    circuit.h(range(3))
    circuit.measure_all()

    def counts(seed: int) -> list[dict[str, int]]:
        return [each.result().data.get_counts() for each in device.run([circuit, circuit], shots=500, seed=seed)]

    once = counts(3)
    assert once == counts(3)
    assert once[0] != once[1]
    assert device.run([], shots=5) == []


def test_inputs_and_other_options_go_along(device: QonduitDevice) -> None:
    text = 'OPENQASM 3.0; include "stdgates.inc"; input float a; qubit q; bit c; rx(a) q; c = measure q;'
    job = device.run(text, shots=9, name="turned", inputs={"a": 3.141592653589793})
    assert job.result().data.get_counts() == {"1": 9}
    assert job.metadata()["name"] == "turned"


def test_other_targets_and_switched_off_steps(device: QonduitDevice) -> None:
    device.set_target_program_type("qasm2")
    assert device.run(_qiskit(), shots=5).result().data.get_counts() == {"001": 5}
    device.set_options(transpile=False, transform=False, validate=False, prepare=False)
    assert device.run(PROGRAMS["ionq"](), shots=5).result().data.get_counts() == {"001": 5}


def test_a_job_is_found_again(device: QonduitDevice, server: Server) -> None:
    first = device.run(_cirq(), shots=7)
    again = load_job(str(first.id), "qonduit", client=server.target)
    assert asyncio.run(again.async_result(timeout=60)).data.get_counts() == {"001": 7}
    assert again.status() == JobStatus.COMPLETED
    assert again.result().device_id == device.id
    assert again.metadata()["shots"] == 7
    with pytest.raises(JobStateError, match="has ended"):
        again.cancel()
    with pytest.raises(ResourceNotFoundError, match="999999"):
        load_job(999999, "qonduit", client=server.target).status()


def test_a_job_is_cancelled(device: QonduitDevice) -> None:
    job = device.run(_long(), shots=10)
    with pytest.raises(TimeoutError):
        job.wait_for_final_state(timeout=0.01)
    job.cancel()
    job.wait_for_final_state(timeout=60)
    assert job.status() == JobStatus.CANCELLED
    with pytest.raises(JobStateError, match="cancelled"):
        job.result()


def test_mistakes_are_errors_of_qbraid(device: QonduitDevice) -> None:
    with pytest.raises(ProgramValidationError, match="must be at least 1"):
        device.run(QASM2, shots=0)
    with pytest.raises(ProgramValidationError, match="exceeds the device's capacity"):
        device.run(QuantumCircuit(5000), shots=1)
    job = device.run("OPENQASM 2.0; foo;", shots=1)
    with pytest.raises(QonduitJobError, match="foo") as failed:
        job.result()
    assert isinstance(failed.value.__cause__, JobFailed)
    assert isinstance(failed.value, QbraidRuntimeError)
    assert job.status() == JobStatus.FAILED
    with pytest.raises(QbraidRuntimeError, match="no server"):
        QonduitProvider(Client("127.0.0.1:1", connect_timeout=0.1)).get_devices()
