# SPDX-License-Identifier: Apache-2.0
"""IonQ's circuits and results: the places of qubits, refusals, and where counts come from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from qiskit import QuantumCircuit
from qiskit.quantum_info import Operator

from qonduit_server.errors import DeviceError
from qonduit_server.ir.circuit import Circuit
from qonduit_server.languages import ionq_reader, openqasm2_reader
from qonduit_server.providers.provider import DEFAULTS
from qonduit_server.providers.remote_provider import CredentialRefused, RemoteCircuit
from qonduit_server.providers.vendors import ionq_cloud
from qonduit_server.providers.vendors.ionq import URL_VARIABLE, IonQ, endpoint
from qonduit_server.providers.vendors.ionq_devices import SIMULATORS, backend_of

MACHINE, IDEAL = backend_of("forte_1"), SIMULATORS["simulator"]


def compiled(text: str, device: str = "forte_1") -> RemoteCircuit:
    circuit = openqasm2_reader.read(f'OPENQASM 2.0; include "qelib1.inc"; {text}')
    return IonQ().compile(circuit, device, DEFAULTS)


def counted(raw: Mapping[str, Any], shots: int, backend: Any = MACHINE, qubits: int = 3) -> Any:
    return ionq_cloud._counts(raw, qubits, shots, backend, "job-1")


def test_only_used_qubits_are_sent_and_each_bit_has_the_place_of_its_qubit() -> None:
    found = compiled(
        "qreg q[9]; creg a[2]; creg b[2]; x q[7]; cx q[7], q[2]; measure q[7] -> a[1]; measure q[2] -> b[0];"
    )
    text = json.loads(found.native.text)
    assert text == {
        "qubits": 2,
        "gateset": "qis",
        "circuit": [{"gate": "x", "target": 1}, {"gate": "cnot", "control": 1, "target": 0}],
    }
    # a[1] is bit 1 of the circuit and qubit 7, the second of those that are used; b[0] is bit 2.
    assert MessageToDict(found.native.layout) == {"places": [[1, 1], [2, 0]]}


def test_the_gates_on_the_wire_are_those_of_the_program() -> None:
    quantum = QuantumCircuit(3, 3)
    quantum.rxx(0.3, 0, 2)
    quantum.ryy(0.4, 1, 0)
    quantum.rzz(0.5, 2, 1)
    quantum.u(0.1, 0.2, 0.3, 1)
    quantum.cp(0.7, 0, 1)
    quantum.ccx(0, 1, 2)
    quantum.swap(0, 2)
    quantum.sxdg(1)
    measured = quantum.copy()
    measured.measure(range(3), range(3))
    found = IonQ().compile(Circuit(measured, ()), "forte_1", DEFAULTS)
    read = ionq_reader.read(found.native.text).quantum.remove_final_measurements(inplace=False)
    assert Operator(read).equiv(Operator(quantum.remove_final_measurements(inplace=False)))


def test_compilation_is_deterministic() -> None:
    text = "qreg q[3]; creg c[3]; ccx q[0], q[1], q[2]; u3(0.1, 0.2, 0.3) q[0]; measure q -> c;"
    assert compiled(text).native == compiled(text).native


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("qreg q[1]; creg c[2]; measure q[0] -> c[0]; x q[0]; measure q[0] -> c[1];", "gates after a measurement"),
        (
            "qreg q[2]; creg c[2]; h q[0]; measure q[0] -> c[0]; measure q[1] -> c[0]; h q[0]; measure q[0] -> c[1];",
            "gates after a measurement",
        ),
        ("qreg q[1]; creg c[1]; x q[0]; reset q[0]; measure q[0] -> c[0];", "resets within a circuit"),
        ("qreg q[1]; creg c[1]; measure q[0] -> c[0]; if (c == 1) x q[0];", "depend on measured bits"),
        ("qreg q[1]; creg c[1]; x q[0];", "measures nothing"),
    ],
)
def test_constructs_that_ionq_does_not_run_are_refused(text: str, words: str) -> None:
    with pytest.raises(DeviceError, match=words):
        compiled(text)


def test_too_many_qubits_are_refused_and_unused_ones_do_not_count() -> None:
    gates = " ".join(f"x q[{place}];" for place in range(37))
    with pytest.raises(DeviceError, match="has 36 qubits, and the program uses 37"):
        compiled(f"qreg q[40]; creg c[1]; {gates} measure q[0] -> c[0];", "simulator_forte_1")
    assert compiled("qreg q[40]; creg c[1]; x q[39]; measure q[39] -> c[0];").qubits == 1


def test_omitted_steps_are_warnings() -> None:
    found = compiled("qreg q[1]; creg c[1]; reset q[0]; barrier q; x q[0]; measure q[0] -> c[0];")
    assert found.warnings == ("barriers are left out: IonQ has none",)


def test_counts_of_a_machine_are_the_vendors() -> None:
    found = counted({"probabilities": {"0": 0.3, "6": 0.7}}, 10)
    assert (found.by_number, found.origin) == ({0: 3, 6: 7}, "vendor")
    found = counted({"histogram": {"0": 3, "6": 7}}, 10)
    assert (found.by_number, found.origin) == ({0: 3, 6: 7}, "vendor")


def test_probabilities_that_are_no_frequencies_are_rounded_to_the_number_of_shots() -> None:
    found = counted({"probabilities": {"0": 1 / 3, "1": 1 / 3, "2": 1 / 3}}, 10)
    assert (found.by_number, found.origin) == ({0: 4, 1: 3, 2: 3}, "rounded")


def test_counts_of_the_ideal_simulator_are_drawn_and_equal_at_each_read() -> None:
    raw = {"probabilities": {"0": 0.5, "3": 0.5}}
    found = counted(raw, 1000, IDEAL)
    assert (found.origin, sum(found.by_number.values())) == ("drawn", 1000)
    assert found.by_number != {0: 500, 3: 500}  # of one pinned seed
    assert counted(raw, 1000, IDEAL) == found


@pytest.mark.parametrize(
    "raw",
    [
        {"probabilities": {}},
        {"probabilities": []},
        {"probabilities": {"0": 0.5}},
        {"probabilities": {"8": 1.0}},
        {"probabilities": {"-1": 1.0}},
        {"probabilities": {"00": "1"}},
        {"probabilities": {"0": 2.0, "1": -1.0}},
        {"probabilities": {"0": float("nan")}},
        {"histogram": {"0": 9}},
    ],
)
def test_other_results_than_those_of_the_circuit_are_not_read(raw: dict[str, Any]) -> None:
    with pytest.raises(ionq_cloud._Unreadable):
        counted(raw, 10)


def test_a_new_word_for_a_state_does_not_end_a_job() -> None:
    found = ionq_cloud._job({"id": "a", "status": "on holiday", "started_at": "yesterday"})
    assert (found.state, found.word) == (1, "on holiday")
    assert not found.HasField("started_at")


def test_the_estimate_of_the_start_counts_from_the_submission() -> None:
    found = ionq_cloud._job(
        {"id": "a", "status": "ready", "submitted_at": "2026-06-11T20:47:05.000Z", "predicted_wait_time_ms": 60_000}
    )
    assert found.estimated_start.ToJsonString() == "2026-06-11T20:48:05Z"


@pytest.mark.parametrize("credential", ["", "a secret", "secret\n", "секрет", "secret\x7f"])
def test_a_credential_that_is_no_key_is_refused_before_a_request(credential: str) -> None:
    with pytest.raises(CredentialRefused, match="API key") as refused:
        IonQ().connect(credential)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["http://api.ionq.co/v0.4", "http://10.0.0.1", "ftp://127.0.0.1", "127.0.0.1:80"])
def test_a_key_crosses_no_network_in_plain_text(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv(URL_VARIABLE, url)
    with pytest.raises(ValueError, match="https URL"):
        endpoint()


def test_other_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    assert endpoint() is None
    monkeypatch.setenv(URL_VARIABLE, "https://proxy.example/v0.4/")
    assert endpoint() == "https://proxy.example/v0.4"


def test_each_outcome_has_the_bits_of_the_program() -> None:
    counts = ionq_cloud._Counts({0b10: 5, 0b01: 3, 0b00: 0}, "vendor")
    found = ionq_cloud._outcome(counts, [(0, 1), (3, 0)], {"job": {}})
    assert dict(zip(found.keys, found.counts, strict=True)) == {bytes([0b0001]): 5, bytes([0b1000]): 3}
