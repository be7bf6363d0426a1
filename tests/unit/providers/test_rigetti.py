# SPDX-License-Identifier: Apache-2.0
"""Rigetti's programs, credentials and descriptions: the bits of the region, refusals, and addresses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from qiskit import QuantumCircuit
from qiskit.quantum_info import Operator

from qonduit_server.errors import DeviceError
from qonduit_server.ir.circuit import Circuit
from qonduit_server.languages import openqasm2_reader
from qonduit_server.languages.quil import quil_reader
from qonduit_server.providers.provider import DEFAULTS
from qonduit_server.providers.remote_provider import CredentialRefused, RemoteCircuit
from qonduit_server.providers.vendors.rigetti import Rigetti
from qonduit_server.providers.vendors.rigetti_access import Access, endpoints, read_credential
from qonduit_server.providers.vendors.rigetti_devices import calibration, described_device, gateway
from qonduit_server.providers.vendors.rigetti_messages import message_classes


def compiled(text: str) -> RemoteCircuit:
    circuit = openqasm2_reader.read(f'OPENQASM 2.0; include "qelib1.inc"; {text}')
    return Rigetti().compile(circuit, "Ankaa-3", DEFAULTS)


def test_each_measured_qubit_has_a_bit_of_the_region() -> None:
    found = compiled(
        "qreg q[9]; creg a[2]; creg b[2]; x q[7]; cx q[7], q[2]; measure q[7] -> a[1]; measure q[2] -> b[0];"
    )
    assert found.native.text.splitlines() == [
        "DECLARE ro BIT[2]", "X 1", "CNOT 1 0", "MEASURE 0 ro[0]", "MEASURE 1 ro[1]",
    ]  # fmt: skip
    # a[1] is bit 1 of the circuit and qubit 7, the second of those that are measured; b[0] is bit 2.
    assert MessageToDict(found.native.layout) == {"bits": [[1, 1], [2, 0]]}
    assert found.qubits == 2


def test_a_qubit_that_is_not_measured_has_no_bit() -> None:
    found = compiled("qreg q[4]; creg c[2]; x q[1]; cx q[1], q[3]; measure q[3] -> c[1];")
    assert found.native.text.endswith("DECLARE ro BIT[1]\nX 0\nCNOT 0 1\nMEASURE 1 ro[0]\n")
    assert MessageToDict(found.native.layout) == {"bits": [[1, 0]]}


def test_a_qubit_that_is_measured_twice_has_one_bit() -> None:
    found = compiled("qreg q[1]; creg c[2]; x q[0]; measure q[0] -> c[0]; measure q[0] -> c[1];")
    assert found.native.text.count("MEASURE") == 1
    assert MessageToDict(found.native.layout) == {"bits": [[0, 0], [1, 0]]}


def test_the_gates_on_the_wire_are_those_of_the_program() -> None:
    quantum = QuantumCircuit(3, 3)
    quantum.rxx(0.3, 0, 2)
    quantum.u(0.1, 0.2, 0.3, 1)
    quantum.cp(0.7, 0, 1)
    quantum.ccx(0, 1, 2)
    quantum.iswap(0, 2)
    quantum.sxdg(1)
    measured = quantum.copy()
    measured.measure(range(3), range(3))
    found = Rigetti().compile(Circuit(measured, ()), "Ankaa-3", DEFAULTS)
    read = quil_reader.read(found.native.text).quantum.remove_final_measurements(inplace=False)
    assert Operator(read).equiv(Operator(quantum.remove_final_measurements(inplace=False)))
    assert Rigetti().compile(Circuit(measured, ()), "Ankaa-3", DEFAULTS).native == found.native


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
def test_other_constructs_are_refused(text: str, words: str) -> None:
    with pytest.raises(DeviceError, match=words):
        compiled(text)


def test_credentials_are_tokens_or_pairs() -> None:
    assert read_credential("a-token\n") == Access(refresh_token="a-token")
    assert read_credential('{"refresh_token": "a-token"}') == Access(refresh_token="a-token")
    pair = {"client_id": "an-id", "client_secret": "a-secret"}
    assert read_credential(json.dumps(pair)) == Access(**pair)
    assert "a-token" not in repr(read_credential("a-token"))
    assert "a-secret" not in repr(Access(**pair))


@pytest.mark.parametrize(
    "text", ["", "two words", "{", "[]", "{}", '{"client_id": "an-id"}', '{"refresh_token": 5}', "líne"]
)
def test_what_is_no_credential_is_refused(text: str) -> None:
    with pytest.raises(CredentialRefused, match="must be a refresh token of QCS"):
        read_credential(text)


def test_tokens_are_sent_by_tls_or_to_this_machine() -> None:
    assert endpoints({}).api == "https://api.qcs.rigetti.com"
    assert endpoints({"QCS_SETTINGS_API_URL": "http://127.0.0.1:8000/"}).api == "http://127.0.0.1:8000"
    for variable in ("QCS_SETTINGS_API_URL", "QCS_SETTINGS_GRPC_URL", "QONDUIT_RIGETTI_ISSUER"):
        with pytest.raises(ValueError, match=f"{variable} must be an https URL"):
            endpoints({variable: "http://example.com"})


def test_the_gateway_is_the_one_of_lowest_rank_that_is_attached() -> None:
    def accessor(url: str, rank: int | None, live: bool = True, kind: str = "gateway.v1") -> dict[str, Any]:
        return {"url": url, "rank": rank, "live": live, "accessType": kind}

    assert gateway([accessor("direct", 0, kind="direct.v1"), accessor("away", 0, live=False)]) is None
    assert gateway([accessor("none", None), accessor("second", 2), accessor("first", 1)]) == "first"
    assert gateway([accessor("none", None)]) == "none"


def test_an_architecture_is_described_as_far_as_it_is_known() -> None:
    def operation(name: str, nodes: list[int], *facts: tuple[str, float]) -> dict[str, Any]:
        at = "2026-11-01T00:00:00Z"
        characteristics = [{"name": key, "value": value, "timestamp": at} for key, value in facts]
        return {"name": name, "sites": [{"node_ids": nodes, "characteristics": characteristics}]}

    isa = {
        "architecture": {"nodes": [{"node_id": 7}, {"node_id": 2}], "edges": [{"node_ids": [2, 7]}]},
        "instructions": [
            operation("ISWAP", [2, 7], ("fISWAP", 0.98), ("unknown", 1.0)),
            operation("RX", [2]),
            operation("MEASURE", [7], ("fRO", 0.9)),
            operation("I", [2]),
        ],
        "benchmarks": [operation("FreeInversionRecovery", [2], ("T1", 3e-5))],
    }
    device = described_device("Ankaa-3", isa, [])
    assert (device.num_qubits, list(device.basis_gates), device.available) == (2, ["iswap", "rx"], False)
    found = calibration(isa)
    assert [(qubit.qubit, qubit.HasField("t1")) for qubit in found.qubits] == [(2, True), (7, False)]
    assert found.qubits[1].prob_1_given_0 == pytest.approx(0.1)
    assert [(gate.gate, list(gate.qubits), round(gate.error, 6)) for gate in found.gates] == [("iswap", [2, 7], 0.02)]
    assert [(pair.first, pair.second) for pair in found.coupling_map] == [(2, 7), (7, 2)]


def test_messages_have_the_numbers_of_the_protocol_on_the_wire() -> None:
    found = message_classes(
        "test_rigetti.proto",
        {"a.Inner": {"text": (2, "string")}, "b.Outer": {"inner": (101, "repeated a.Inner"), "data": (1, "bytes")}},
    )
    message = found["b.Outer"](data=b"d")
    message.inner.add(text="t")
    assert message.SerializeToString() == b"\x0a\x01d\xaa\x06\x03\x12\x01t"
