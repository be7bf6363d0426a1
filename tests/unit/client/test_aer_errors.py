# SPDX-License-Identifier: Apache-2.0
"""Noise models of Aer that the client shortens: the same channels, in text that a request may have."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from qiskit_aer import noise as aer

from qonduit_client.aer_errors import to_text
from qonduit_client.simulation_options import noise_of
from qonduit_server.ir.aer_model import AerModel, read_model
from qonduit_server.ir.noise import Channel
from qonduit_server.noise_rules import MAX_BYTES
from tests.unit.languages.channel_comparison import superoperator


def superoperators(channels: Sequence[Channel]) -> np.ndarray[Any, Any]:
    """Return the product of channels, each on qubits from 0 of two."""
    product = np.eye(16, dtype=complex)
    for channel in channels:
        rest = np.eye(4 >> channel.num_qubits)
        product = superoperator([np.kron(rest, each) for each in channel.kraus]) @ product
    return product


def assert_equal(found: AerModel, wanted: AerModel) -> None:
    assert {name: set(errors) for name, errors in found.gates.items()} == {
        name: set(errors) for name, errors in wanted.gates.items()
    }
    for name, errors in wanted.gates.items():
        for qubits, channels in errors.items():
            mine = superoperators(found.gates[name][qubits])
            assert np.abs(mine - superoperators(channels)).max() < 1e-12, (name, qubits)
            assert np.abs(mine - superoperators(found.errors(name, qubits))).max() < 1e-12, (name, qubits)
    assert found.readouts == wanted.readouts


def device(qubits: int) -> aer.NoiseModel:
    """Return a model like that of a device: depolarizing, then relaxation of each qubit."""
    model = aer.NoiseModel()
    for qubit in range(qubits):
        t1, t2 = 100.0 + qubit, (60.0 if qubit % 2 else 150.0) + qubit
        relaxed = aer.thermal_relaxation_error(t1, t2, 0.1)
        single = aer.depolarizing_error(0.001 * (1 + qubit), 1).compose(relaxed)
        for name in ("sx", "x"):
            model.add_quantum_error(single, [name], [qubit])
        model.add_readout_error([[0.9, 0.1], [0.2, 0.8]], [qubit])
        if qubit:
            before = aer.thermal_relaxation_error(t1 - 1, 60.0 if qubit % 2 == 0 else 150.0, 0.5)
            pair = aer.depolarizing_error(0.01, 2).compose(before.expand(aer.thermal_relaxation_error(t1, t2, 0.5)))
            model.add_quantum_error(pair, ["cz"], [qubit - 1, qubit])
    return model


def text(model: aer.NoiseModel) -> str:
    return json.dumps(model.to_dict(serializable=True), separators=(",", ":"))


def test_a_model_of_a_device_is_shortened_and_the_same() -> None:
    model = device(4)
    short = noise_of(model).aer_json
    assert len(short) < len(text(model)) / 4
    assert_equal(read_model(short), read_model(text(model)))
    # Each error of two qubits is 16 Pauli strings and relaxations, in place of their combinations.
    pairs = [each for each in json.loads(short)["errors"] if each["operations"] == ["cz"]]
    assert max(len(each["instructions"]) for each in pairs) == 16
    assert [each["operations"] for each in json.loads(short)["errors"]].count(["sx", "x"]) > 0


def test_errors_of_156_qubits_fit_into_a_request() -> None:
    small = device(2).to_dict(serializable=True)
    (pair,) = [each for each in small["errors"] if each["operations"] == ["cz"]]
    others = [each for each in small["errors"] if each["operations"] != ["cz"] and each["gate_qubits"] == [[0]]]
    draw = np.random.default_rng(1)
    errors = []
    for qubit in range(156):
        errors += [{**each, "gate_qubits": [[qubit]]} for each in others]
    for k in range(352):
        paulis, rest = draw.dirichlet(np.ones(16)), draw.dirichlet(np.ones(len(pair["instructions"]) // 16))
        shares = [float(a * b) for a in paulis for b in rest]
        errors.append({**pair, "probabilities": shares, "gate_qubits": [[k % 155, k % 155 + 1]]})
    assert len(json.dumps({"errors": errors})) > 2 * MAX_BYTES
    assert noise_of({"errors": errors}).ByteSize() < MAX_BYTES


def test_several_errors_keep_their_order() -> None:
    model = aer.NoiseModel()
    model.add_quantum_error(aer.amplitude_damping_error(0.3), ["x"], [0])
    model.add_quantum_error(aer.pauli_error([("X", 0.2), ("I", 0.8)]), ["sx"], [0])
    fields = model.to_dict(serializable=True)
    damping, flip = fields["errors"]
    # x is damped and flipped, sx is flipped, damped and flipped again.
    fields["errors"] = [{**damping, "operations": ["x"]}, flip, {**damping, "operations": ["sx"]}]
    fields["errors"].append({**flip, "operations": ["x", "sx"]})
    short = read_model(to_text(fields))
    assert [len(short.gates[name][0,]) for name in ("x", "sx")] == [2, 3]
    assert_equal(short, read_model(json.dumps(fields)))


def test_errors_of_all_qubits_stay_apart_from_those_of_some() -> None:
    model = aer.NoiseModel()
    model.add_all_qubit_quantum_error(aer.depolarizing_error(0.1, 1), ["x", "sx"])
    model.add_quantum_error(aer.depolarizing_error(0.1, 1), ["x"], [1], warnings=False)
    model.add_quantum_error(aer.depolarizing_error(0.2, 1), ["sx"], [1], warnings=False)
    model.add_all_qubit_readout_error([[0.9, 0.1], [0.3, 0.7]])
    short = noise_of(model).aer_json
    assert "id" not in json.loads(short)["errors"][0]
    assert_equal(read_model(short), read_model(text(model)))


def test_a_mixture_that_is_no_product_stays_whole() -> None:
    x, reset = {"name": "x", "qubits": [0]}, {"name": "reset", "qubits": [0]}
    circuits = [[x, x], [x, reset], [reset, x], [reset, reset]]
    error = {"type": "qerror", "operations": ["x"], "instructions": circuits, "gate_qubits": [[0]]}
    (kept,) = json.loads(to_text({"errors": [{**error, "probabilities": [0.3, 0.2, 0.2, 0.3]}]}))["errors"]
    assert kept == {**error, "probabilities": [0.3, 0.2, 0.2, 0.3]}
    first, second = json.loads(to_text({"errors": [{**error, "probabilities": [0.12, 0.28, 0.18, 0.42]}]}))["errors"]
    assert (first["instructions"], second["instructions"]) == ([[x], [reset]], [[x], [reset]])
    assert all(map(math.isclose, [*first["probabilities"], *second["probabilities"]], [0.4, 0.6, 0.3, 0.7]))


@pytest.mark.parametrize(
    "fields",
    [
        {"errors": "none"},
        {"errors": [1]},
        {"errors": [{"type": "qerror", "operations": ["x"], "instructions": [[]], "probabilities": [0.5, 0.5]}]},
        {"errors": [{"type": "qerror", "operations": ["x"], "instructions": [], "probabilities": [], "more": 1}]},
        {"errors": [{"type": "qerror", "operations": "x", "instructions": [[]], "probabilities": [1]}]},
        {"errors": [{"type": "other", "key": 1}], "version": 3},
    ],
)
def test_what_is_no_model_is_left_for_the_server_to_refuse(fields: dict[str, Any]) -> None:
    assert json.loads(to_text(fields)) == fields
