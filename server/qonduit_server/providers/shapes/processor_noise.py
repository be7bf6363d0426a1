# SPDX-License-Identifier: Apache-2.0
"""The noise of Google's virtual processors: Cirq's own model, and the channels that density matrices take from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import cirq
import cirq_google
import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import QuantumCircuit, Reset

from qonduit_server.ir.noise import Channel, phase_damping
from qonduit_server.providers.shapes.processor_programs import in_order

_PAIR: Final = 2
_SWAP: Final = np.kron(cirq.unitary(cirq.SWAP), cirq.unitary(cirq.SWAP))

Superoperator: TypeAlias = NDArray[np.complex128]


class ProcessorNoise:
    """The noise of one processor: relaxation of all qubits, errors of gates, of angles and of readout.

    Args:
        name: of the processor.
    """

    def __init__(self, name: str) -> None:
        self._properties = cirq_google.engine.load_device_noise_properties(name)

    def noisy(self, circuit: Any) -> Any:
        """Return a circuit with its noise, on the qubits that it uses.

        Cirq searches all gates of a processor for each operation: here only those of the qubits that are used.
        """
        active = sorted(circuit.all_qubits())
        known = self._properties
        own = cirq_google.GoogleNoiseProperties(
            gate_times_ns=known.gate_times_ns,
            t1_ns=_of(known.t1_ns, active),
            tphi_ns=_of(known.tphi_ns, active),
            readout_errors=_of(known.readout_errors, active),
            gate_pauli_errors=_among(known.gate_pauli_errors, active),
            fsim_errors=_among(known.fsim_errors, active),
        )
        model = cirq_google.NoiseModelFromGoogleNoiseProperties(own)
        return in_order(cirq.Circuit(model.noisy_moments(circuit, active)))


def _of(values: Mapping[Any, Any], active: Sequence[Any]) -> dict[Any, Any]:
    return {qubit: values[qubit] for qubit in active if qubit in values}


def _among(values: Mapping[Any, Any], active: Sequence[Any]) -> dict[Any, Any]:
    chosen = frozenset(active)
    return {gate: value for gate, value in values.items() if chosen.issuperset(gate.qubits)}


@dataclass
class _Block:
    """All that happens to one or two qubits in a row.

    Args:
        qubits: the first is the highest bit of the indices.
        action: on density matrices, whose entries are in the order of rows.
    """

    qubits: tuple[Any, ...]
    action: Superoperator


def as_channels(noisy: Any, clbits: Sequence[int | None], bits: int) -> QuantumCircuit:
    """Return a noisy circuit as an IR circuit of few channels, on its qubits in order.

    Gates and noise of the same qubits become one channel: a gate for two qubits takes dozens of channels with it.

    Args:
        noisy: the circuit.
        clbits: the classical bit of each measurement; None if it is overwritten.
        bits: the number of classical bits.
    """
    places = {qubit: place for place, qubit in enumerate(sorted(noisy.all_qubits()))}
    quantum = QuantumCircuit(len(places), bits)
    for step in _steps(noisy):
        on = [places[qubit] for qubit in step.qubits]
        if isinstance(step, _Block):
            kraus = cirq.superoperator_to_kraus(step.action)
            # In the IR, the first qubit is the lowest bit.
            quantum.append(Channel(len(on), kraus), on[::-1], copy=False)
        elif isinstance(step.gate, cirq.MeasurementGate):
            clbit = clbits[int(cirq.measurement_key_name(step))]
            if clbit is None:
                quantum.append(phase_damping(1.0), on)
            else:
                quantum.measure(on[0], clbit)
        else:
            quantum.append(Reset(), on)
    return quantum


def _steps(noisy: Any) -> Iterator[Any]:
    """Yield blocks, and the measurements and resets between them."""
    steps: list[Any] = []
    last: dict[Any, _Block] = {}
    for operation in noisy.all_operations():
        on = operation.qubits
        if cirq.is_measurement(operation) or isinstance(operation.gate, cirq.ResetChannel):
            for qubit in on:
                last.pop(qubit, None)
            steps.append(operation)
            continue
        action = cirq.kraus_to_superoperator(cirq.kraus(operation))
        block = last.get(on[0])
        if block is None or not set(on) <= set(block.qubits) or any(last.get(qubit) is not block for qubit in on):
            block = _new_block(on, last)
            steps.append(block)
        block.action = _lifted(action, on, block.qubits) @ block.action
    # A block that was taken into a larger one has no action left.
    return (step for step in steps if not isinstance(step, _Block) or step.qubits)


def _new_block(on: tuple[Any, ...], last: dict[Any, _Block]) -> _Block:
    """Begin a block; what happened to one of its qubits alone becomes part of it."""
    block = _Block(on, np.eye(4 ** len(on), dtype=np.complex128))
    for qubit in on:
        before = last.get(qubit)
        if before is not None and len(before.qubits) == 1:
            block.action = _lifted(before.action, (qubit,), on) @ block.action
            before.qubits = ()
        last[qubit] = block
    return block


def _lifted(action: Superoperator, on: tuple[Any, ...], qubits: tuple[Any, ...]) -> Superoperator:
    """Return an action on some of a block's qubits as one on all of them, in their order."""
    if len(on) == len(qubits):
        return action if on == qubits else np.asarray(_SWAP @ action @ _SWAP)
    same: Superoperator = np.eye(4, dtype=np.complex128)
    first, second = (action, same) if on[0] == qubits[0] else (same, action)
    shape = (2,) * 4
    # Rows and columns of one qubit are neighbours in a product; those of two belong together.
    both = np.einsum("aAcC,bBdD->abABcdCD", first.reshape(shape), second.reshape(shape))
    return np.asarray(both.reshape(16, 16))
