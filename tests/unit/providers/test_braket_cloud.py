# SPDX-License-Identifier: Apache-2.0
"""Circuits, credentials and results of Amazon Braket, without its service."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError
from braket.default_simulator import StateVectorSimulator
from braket.ir.openqasm import Program
from braket.task_result import GateModelTaskResult
from qiskit import QuantumCircuit

from qonduit.execution.v1.vendor_pb2 import NativeCircuit
from qonduit_server.errors import DeviceError
from qonduit_server.ir.circuit import Circuit
from qonduit_server.providers.provider import DEFAULTS
from qonduit_server.providers.remote_provider import (
    CallRefused,
    CredentialRefused,
    NotSent,
    VendorBusy,
    VendorError,
)
from qonduit_server.providers.vendors import braket_catalogue, braket_results
from qonduit_server.providers.vendors.braket_access import read_credential, vendor_errors
from qonduit_server.providers.vendors.braket_cloud import BraketCloud
from tests.vendor_cloud.aws_provider import credential


def compiled(circuit: QuantumCircuit) -> NativeCircuit:
    return BraketCloud().compile(Circuit(circuit, ()), "ionq_Forte-1", DEFAULTS).native


def ran(native: NativeCircuit, shots: int = 50) -> GateModelTaskResult:
    """Run the text with Braket's own simulator."""
    found: GateModelTaskResult = StateVectorSimulator().run_openqasm(Program(source=native.text), shots=shots)
    return found


def counts(native: NativeCircuit, result: GateModelTaskResult, shots: int = 50) -> dict[int, int]:
    outcome = braket_results._outcome(result, native, shots, {})
    assert outcome is not None
    return {int.from_bytes(key, "little"): count for key, count in zip(outcome.keys, outcome.counts, strict=True)}


def test_bits_are_those_of_the_program_in_any_order_of_measurements() -> None:
    circuit = QuantumCircuit(7, 9)
    circuit.x(5)
    circuit.ccx(5, 4, 2)
    circuit.measure([5, 2, 6], [0, 8, 3])
    native = compiled(circuit)
    assert "qubit[4] q;" in native.text  # without gaps
    assert counts(native, ran(native)) == {1: 50}
    other = QuantumCircuit(2, 9)
    other.x(1)
    other.measure([0, 1], [7, 8])
    assert counts(compiled(other), ran(compiled(other))) == {1 << 8: 50}


def test_gates_that_not_all_devices_take_are_replaced() -> None:
    circuit = QuantumCircuit(3, 3)
    circuit.u(0.3, 0.2, 0.1, 0)
    circuit.cp(0.7, 0, 1)
    circuit.ryy(0.5, 1, 2)
    circuit.ecr(0, 2)
    circuit.measure(range(3), range(3))
    text = compiled(circuit).text
    names = {line.split("(")[0].split(" ")[0] for line in text.splitlines()[3:]}
    allowed = {"x", "y", "z", "h", "s", "si", "t", "ti", "v", "vi", "rx", "ry", "rz", "cnot", "swap", "i"}
    assert {name for name in names if not name.startswith("b[")} <= allowed


def test_the_same_circuit_gives_the_same_text() -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.rx(0.1, 0)
    circuit.cx(0, 1)
    circuit.measure_all(add_bits=False)
    assert compiled(circuit) == compiled(circuit.copy())


@pytest.mark.parametrize("kind", ["condition", "second", "late", "reset", "none"])
def test_what_no_device_runs_is_refused(kind: str) -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.x(0)
    if kind == "reset":
        circuit.reset(0)
    if kind != "none":
        circuit.measure(0, 0)
    if kind == "condition":
        with circuit.if_test((circuit.clbits[0], 1)):
            circuit.x(1)
    if kind == "second":
        circuit.measure(0, 1)
    if kind == "late":
        circuit.cx(0, 1)
    with pytest.raises(DeviceError) as refused:
        compiled(circuit)
    assert refused.value.reason == "UNSUPPORTED_CONSTRUCT"


def test_counts_of_probabilities_have_the_sum_of_the_shots() -> None:
    drawn = dict(braket_results._drawn({"00": 1 / 3, "01": 1 / 3, "11": 1 / 3}, 100))
    assert sum(drawn.values()) == 100
    assert set(drawn.values()) == {33, 34}


def test_results_without_a_measured_qubit_are_unreadable() -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.x(0)
    circuit.measure([0, 1], [0, 1])
    native = compiled(circuit)
    result = ran(native)
    result.measuredQubits = [0]
    assert braket_results._outcome(result, native, 50, {}) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("no JSON", "is no valid JSON"),
        ("[1]", "must be a JSON object of texts"),
        (json.dumps({"aws_access_key_id": "AKIA", "region": "x"}), "no aws_secret_access_key and no bucket"),
        (json.dumps(json.loads(credential("t")) | {"bucket": "mine"}), "must begin with amazon-braket-"),
        (json.dumps(json.loads(credential("t")) | {"profile": "lab"}), "the unknown fields ['profile']"),
    ],
)
def test_a_credential_that_cannot_be_one_is_refused_with_its_form(text: str, why: str) -> None:
    with pytest.raises(CredentialRefused) as refused:
        read_credential(text)
    assert why in refused.value.message
    assert "secret of" not in refused.value.message


def test_names_of_devices_are_their_arns() -> None:
    for arn in (
        "arn:aws:braket:eu-north-1::device/qpu/iqm/Garnet",
        "arn:aws:braket:::device/quantum-simulator/amazon/sv1",
    ):
        name = braket_catalogue.device_name(arn)
        assert braket_catalogue.device_arn(name, "eu-north-1") == arn
    assert braket_catalogue.device_name("arn:aws:braket:us-east-1::device/qpu/ionq/Aria-1") == "ionq_Aria-1"


def failed(code: str, status: int, headers: dict[str, str] | None = None) -> ClientError:
    details: Any = {"HTTPStatusCode": status, "HTTPHeaders": headers or {}}
    return ClientError({"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": details}, "CreateQuantumTask")


@pytest.mark.parametrize(
    ("raised", "kind", "wait"),
    [
        (failed("ThrottlingException", 429, {"retry-after": "7"}), VendorBusy, 7.0),
        (failed("ServiceQuotaExceededException", 402), VendorBusy, 60.0),
        (failed("DeviceOfflineException", 424), VendorBusy, 300.0),
        (failed("ExpiredTokenException", 400), CredentialRefused, 0.0),
        (failed("AccessDeniedException", 403), CredentialRefused, 0.0),
        (failed("ValidationException", 400), CallRefused, 0.0),
        (failed("DeviceRetiredException", 410), CallRefused, 0.0),
        (failed("InternalServiceException", 500), VendorError, 0.0),
        (failed("SlowDown", 503), VendorBusy, 0.0),
        (EndpointConnectionError(endpoint_url="http://127.0.0.1"), NotSent, 0.0),
        (ReadTimeoutError(endpoint_url="http://127.0.0.1"), VendorError, 0.0),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_errors_of_the_sdk_tell_what_a_call_changed(raised: Exception, kind: type[VendorError], wait: float) -> None:
    with pytest.raises(VendorError) as found, vendor_errors():
        raise raised
    assert type(found.value) is kind
    assert found.value.retry_after == wait
