# SPDX-License-Identifier: Apache-2.0
"""Channels of Cirq's JSON are those that Cirq means."""

from __future__ import annotations

import cirq
import numpy as np
import pytest

from qonduit_server.errors import ProgramError
from qonduit_server.ir.noise import Channel
from qonduit_server.languages.cirq import cirq_reader
from tests.unit.languages.channel_comparison import first_is_highest, superoperator

_DAMPED = cirq.kraus(cirq.amplitude_damp(0.3))
_Y = cirq.unitary(cirq.Y)
GATES = [
    cirq.bit_flip(0.1),
    cirq.phase_flip(0.2),
    cirq.depolarize(0.3),
    cirq.depolarize(0.3, 2),
    cirq.asymmetric_depolarize(0.1, 0.2, 0.3),
    cirq.asymmetric_depolarize(error_probabilities={"XZ": 0.1, "YI": 0.2, "II": 0.7}),
    cirq.amplitude_damp(0.3),
    cirq.generalized_amplitude_damp(0.2, 0.3),
    cirq.phase_damp(0.4),
    cirq.KrausChannel([np.kron(_Y, each) for each in _DAMPED]),
    cirq.MixedUnitaryChannel([(0.3, np.eye(4)), (0.7, np.kron(_Y, cirq.unitary(cirq.X**0.3)))]),
]


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: f"{type(gate).__name__}-{cirq.num_qubits(gate)}")
def test_a_channel_is_that_of_cirq(gate: cirq.Gate) -> None:
    qubits = cirq.LineQubit.range(2)
    circuit = cirq.Circuit(cirq.H.on_each(qubits), gate(*qubits[: cirq.num_qubits(gate)]), cirq.measure(*qubits))
    read = cirq_reader.read(cirq.to_json(circuit)).quantum
    (found,) = [each for each in read.data if isinstance(each.operation, Channel)]
    places = [read.find_bit(qubit).index for qubit in found.qubits]

    assert sorted(places) == list(range(cirq.num_qubits(gate)))
    mine = superoperator(first_is_highest(found.operation, places))
    assert np.allclose(mine, superoperator(cirq.kraus(gate)))


def test_noise_that_is_no_channel_is_refused_with_its_place() -> None:
    (a,) = cirq.LineQubit.range(1)
    text = cirq.to_json(cirq.Circuit(cirq.bit_flip(0.125)(a), cirq.measure(a))).replace("0.125", "1.5")
    with pytest.raises(ProgramError, match="moment 1, operation 1: p must be between 0 and 1, got 1") as refused:
        cirq_reader.read(text)
    assert refused.value.reason == "INVALID_NOISE"

    keyed = cirq.KrausChannel(_DAMPED, key="k")
    with pytest.raises(ProgramError, match="key"):
        cirq_reader.read(cirq.to_json(cirq.Circuit(keyed(a))))
    with pytest.raises(ProgramError, match="RandomGateChannel"):
        cirq_reader.read(cirq.to_json(cirq.Circuit(cirq.X.with_probability(0.3)(a))))
    with pytest.raises(ProgramError, match="cannot be controlled"):
        cirq_reader.read(
            cirq.to_json(cirq.Circuit(cirq.ControlledOperation([cirq.LineQubit(1)], cirq.X(a)))).replace(
                '"_PauliX"', '"BitFlipChannel", "p": 0.1'
            )
        )
