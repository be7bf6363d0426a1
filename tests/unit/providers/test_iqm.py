# SPDX-License-Identifier: Apache-2.0
"""Circuits for IQM as a worker writes them, and refusals; the calls are in the contract of vendors."""

from __future__ import annotations

import json
from typing import Any

import pytest
from qiskit import QuantumCircuit
from qiskit.quantum_info import Operator

from qonduit.execution.v1.vendor_pb2 import IDEMPOTENCY_NOTHING
from qonduit_server.errors import DeviceError
from qonduit_server.ir.circuit import Circuit
from qonduit_server.languages import openqasm2_reader
from qonduit_server.providers.provider import DEFAULTS
from qonduit_server.providers.remote_provider import CallRefused, CredentialRefused, RemoteCircuit
from qonduit_server.providers.vendors.iqm import IQM, URL_VARIABLE


def compiled(text: str) -> RemoteCircuit:
    circuit = openqasm2_reader.read(f'OPENQASM 2.0; include "qelib1.inc"; {text}')
    return IQM().compile(circuit, "garnet", DEFAULTS)


def program(found: RemoteCircuit) -> Any:
    return json.loads(found.native.text)


def test_only_used_qubits_are_sent_and_measurements_name_their_bits() -> None:
    found = compiled(
        "qreg q[9]; creg a[2]; creg b[2]; x q[7]; cx q[7], q[2]; measure q[7] -> a[1]; measure q[2] -> b[0];"
    )
    assert program(found) == {
        "qubits": 2,
        "steps": [["x", [1], []], ["cx", [1, 0], []], ["measure", [1], [1]], ["measure", [0], [2]]],
    }
    assert (found.qubits, found.native.layout["optimization_level"]) == (2, 1)


def test_the_gates_are_those_of_the_program_and_the_same_each_time() -> None:
    quantum = QuantumCircuit(3, 3)
    quantum.rxx(0.3, 0, 2)
    quantum.u(0.1, 0.2, 0.3, 1)
    quantum.cp(0.7, 0, 1)
    quantum.ccx(0, 1, 2)
    quantum.r(0.4, 0.5, 0)
    quantum.swap(0, 2)
    measured = quantum.copy()
    measured.measure(range(3), range(3))
    found = IQM().compile(Circuit(measured, ()), "garnet", DEFAULTS)
    assert found.native == IQM().compile(Circuit(measured, ()), "garnet", DEFAULTS).native
    read = QuantumCircuit(3)
    for name, qubits, numbers in program(found)["steps"]:
        if name != "measure":
            getattr(read, name)(*numbers, *qubits)
    assert Operator(read).equiv(Operator(quantum))


def test_delays_are_in_seconds_and_barriers_are_kept() -> None:
    quantum = QuantumCircuit(2, 1)
    quantum.delay(20, 0, unit="ns")
    quantum.barrier()
    quantum.measure(0, 0)
    steps = program(IQM().compile(Circuit(quantum, ()), "garnet", DEFAULTS))["steps"]
    assert [(name, qubits) for name, qubits, _ in steps] == [("delay", [0]), ("barrier", [0, 1]), ("measure", [0])]
    assert steps[0][2] == [pytest.approx(2e-8)]


def test_a_delay_without_a_known_unit_is_refused() -> None:
    quantum = QuantumCircuit(1, 1)
    quantum.delay(20, 0, unit="dt")
    quantum.measure(0, 0)
    with pytest.raises(DeviceError, match="got dt"):
        IQM().compile(Circuit(quantum, ()), "garnet", DEFAULTS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("qreg q[1]; creg c[1]; measure q[0] -> c[0]; if (c == 1) x q[0];", "depend on measured bits"),
        ("qreg q[1]; creg c[1]; x q[0];", "measures nothing"),
    ],
)
def test_constructs_that_do_not_run_are_refused(text: str, words: str) -> None:
    with pytest.raises(DeviceError, match=words):
        compiled(text)


@pytest.mark.parametrize("credential", ["", "a secret", "secret\n", "секрет"])
def test_a_credential_that_is_no_token_is_refused_before_a_request(credential: str) -> None:
    with pytest.raises(CredentialRefused, match="API token") as refused:
        IQM().connect(credential)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["http://iqm.example", "ftp://127.0.0.1", "iqm.example"])
def test_a_token_is_not_sent_in_plain_text(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv(URL_VARIABLE, url)
    with pytest.raises(ValueError, match="IQM_SERVER_URL must be an https URL"):
        IQM().connect("a-token")


def test_without_the_client_the_error_names_the_command_that_installs_it() -> None:
    with pytest.raises(CallRefused, match="qonduit provider install IQM"):
        IQM().connect("a-token")


def test_no_submission_is_ever_repeated_blindly() -> None:
    assert IQM().describe().vendor.idempotency == IDEMPOTENCY_NOTHING
