# SPDX-License-Identifier: Apache-2.0
"""Exact states of programs: how simulators that apply gates to an array compute them, and what they cost."""

from __future__ import annotations

import cmath
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qonduit_server.ir.circuit import Circuit
from qonduit_server.ir.lowering import Lowering
from qonduit_server.ir.unitary import unitary_part
from qonduit_server.providers.branching import Engine, State
from qonduit_server.providers.provider import CompiledCircuit, check_memory

#: What becomes of 16 bytes on their way from the array to the server: rows, message and frame, each for a while beside
#: the one before.
_RESULT_BYTES_PER_AMPLITUDE: Final = 112


@dataclass(frozen=True)
class Evolution:
    """The gates of a circuit in an SDK's form, how many qubits the circuit has, used or not, and its global phase."""

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
    """Add to a compiled circuit what its statevector needs.

    Args:
        compiled: made to be measured.
        native: the circuit's gates, in the SDK's form.
        qubits: how many the circuit has.
        bytes_per_amplitude: what computing the statevector takes, the array that is given included.
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
    """Add to a compiled circuit what an engine needs to give its statevector: its gates, in the engine's form.

    Args:
        compiled: made to be measured.
        circuit: the IR circuit.
        lowering: expands what the device does not have.
        engine: is going to apply them.
        bytes_per_amplitude: as for `with_statevector`.
        memory_limit_bytes: as for `with_statevector`.

    Raises:
        ProgramError: reason NO_STATEVECTOR.
        DeviceError: a gate that the device does not have, by name.
        LimitError: reason MEMORY_LIMIT.
    """
    qubits = circuit.quantum.num_qubits
    gates = unitary_part(circuit, lowering)
    # An engine's first axis is the highest bit of an amplitude's place; the program's first qubit is the lowest.
    turned = [(gate, tuple([qubits - 1 - place for place in places])) for gate, places in gates]
    (run,) = engine.lower([turned], qubits)
    return with_statevector(compiled, run, qubits, bytes_per_amplitude, memory_limit_bytes, lowering.phase)


def evolve(engine: Engine, evolution: Evolution) -> NDArray[np.complex128]:
    """Return the state that all of a circuit's gates make of zeros; bit i of an amplitude's place is qubit i."""
    qubits = evolution.qubits
    state: State = np.zeros((2,) * qubits, dtype=np.complex128)
    state[(0,) * qubits] = cmath.exp(1j * evolution.phase)
    return engine.evolve(state, evolution.native, qubits).reshape(-1)
