# SPDX-License-Identifier: Apache-2.0
"""Exact states of programs: their computation by simulators that apply gates to an array, and its memory."""

from __future__ import annotations

import cmath
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qonduit_server.ir.circuit import Circuit
from qonduit_server.ir.lowering import Lowering
from qonduit_server.ir.unitary import unitary_part
from qonduit_server.providers.provider import CompiledCircuit, check_memory
from qonduit_server.providers.simulation.branching import Engine
from qonduit_server.providers.simulation.group_states import State

#: Copies of the 16 bytes of an amplitude on their way to the server: rows, message and frame, two of them at a time.
_RESULT_BYTES_PER_AMPLITUDE: Final = 112


@dataclass(frozen=True)
class Evolution:
    """The gates of a circuit in an SDK's form, the circuit's number of qubits, used or not, and its global phase."""

    native: Any
    qubits: int
    phase: float


def with_statevector(
    compiled: CompiledCircuit,
    native: Any,
    qubits: int,
    bytes_per_amplitude: int,
    memory_limit_bytes: int,
    phase: float = 0.0,
) -> CompiledCircuit:
    """Add the evolution for the statevector to a compiled circuit.

    Args:
        compiled: the circuit compiled for measurement.
        native: the circuit's gates, in the SDK's form.
        qubits: the circuit's number of qubits.
        bytes_per_amplitude: memory to compute the statevector, including the returned array.
        memory_limit_bytes: what a run may need; 0 means as much as the machine has.
        phase: a global phase that the gates lack, in radians.

    Raises:
        LimitError: reason MEMORY_LIMIT.
    """
    need = check_memory(
        qubits, bytes_per_amplitude + _RESULT_BYTES_PER_AMPLITUDE, memory_limit_bytes, " and giving their statevector"
    )
    return replace(
        compiled,
        evolution=Evolution(native, qubits, phase),
        memory_bytes=max(compiled.memory_bytes, need),
        circuits=compiled.circuits + 1,
    )


def with_evolution(
    compiled: CompiledCircuit,
    circuit: Circuit,
    lowering: Lowering,
    engine: Engine,
    bytes_per_amplitude: int,
    memory_limit_bytes: int,
) -> CompiledCircuit:
    """Add the evolution for the statevector to a compiled circuit: its gates, in the engine's form.

    Args:
        compiled: the circuit compiled for measurement.
        circuit: the IR circuit.
        lowering: expands operations that the device lacks.
        engine: applies the gates.
        bytes_per_amplitude: as for `with_statevector`.
        memory_limit_bytes: as for `with_statevector`.

    Raises:
        ProgramError: reason NO_STATEVECTOR.
        DeviceError: a gate that the device does not have, by name.
        LimitError: reason MEMORY_LIMIT.
    """
    qubits = circuit.quantum.num_qubits
    gates = unitary_part(circuit, lowering)
    # An engine's first axis is the highest bit of an amplitude's index; the program's first qubit is the lowest.
    turned = [(gate, tuple([qubits - 1 - place for place in places])) for gate, places in gates]
    (run,) = engine.lower([turned], qubits)
    return with_statevector(compiled, run, qubits, bytes_per_amplitude, memory_limit_bytes, lowering.phase)


def evolve(engine: Engine, evolution: Evolution) -> NDArray[np.complex128]:
    """Return the state after all of a circuit's gates, from |0...0>; bit i of an amplitude's index is qubit i."""
    qubits = evolution.qubits
    state: State = np.zeros((2,) * qubits, dtype=np.complex128)
    state[(0,) * qubits] = cmath.exp(1j * evolution.phase)
    return engine.evolve(state, evolution.native, qubits).reshape(-1)
