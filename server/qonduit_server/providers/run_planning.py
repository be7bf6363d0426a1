# SPDX-License-Identifier: Apache-2.0
"""How a simulator that measures at the end only runs a circuit: once, with measurement deferred, or branching."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from qonduit_server.errors import DeviceError, LimitError
from qonduit_server.ir.deferral import Deferred, defer
from qonduit_server.ir.lowering import Lowering
from qonduit_server.providers.branching import BYTES_PER_AMPLITUDE, MOST_SPARE_STATES, Branching, Engine, branching
from qonduit_server.providers.provider import check_memory, task_memory

if TYPE_CHECKING:
    from qiskit.circuit import Instruction, QuantumCircuit

#: Helper qubits are taken up to so many qubits in all. One run of these costs no more than a few hundred groups of
#: shots; beyond, each helper doubles the cost of the one run, and of branching at most.
_DEFERRED_QUBITS: Final = 14


def plan(
    quantum: QuantumCircuit,
    device: str,
    is_native: Callable[[Instruction], bool],
    engine: Engine,
    bytes_per_amplitude: int,
    memory_limit_bytes: int,
) -> tuple[Deferred | Branching, int, int]:
    """Choose the cheaper way to run a circuit, and bring it into that form.

    Args:
        quantum: the IR circuit.
        device: for messages, "PROVIDER/device".
        is_native: whether the device takes an operation as it is.
        engine: applies gates where the circuit branches.
        bytes_per_amplitude: what the device needs for one run without branches.
        memory_limit_bytes: what a run may need; 0 means as much as the machine has.

    Returns:
        The circuit in that form, how many qubits it simulates, and the memory in bytes that it needs.

    Raises:
        DeviceError: the device has not what the circuit needs, by name.
        LimitError: reason MEMORY_LIMIT.
    """

    def check(qubits: int, helpers: int) -> None:
        if qubits > max(quantum.num_qubits, _DEFERRED_QUBITS):
            raise LimitError("TOO_LARGE", "cheaper by branching")
        if helpers:
            check_memory(qubits, bytes_per_amplitude, memory_limit_bytes)

    check_memory(quantum.num_qubits, bytes_per_amplitude, memory_limit_bytes)
    try:
        deferred = defer(quantum, Lowering(device, is_native), device, check)
    except (DeviceError, LimitError):
        limit = min(memory_limit_bytes or task_memory(), task_memory())
        program = branching(quantum, Lowering(device, is_native), device, engine)
        need = check_memory(program.qubits, BYTES_PER_AMPLITUDE, memory_limit_bytes)
        program.spare_bytes = min((limit - need) // 4, MOST_SPARE_STATES * (16 << program.qubits))
        return program, program.qubits, need + program.spare_bytes
    qubits = max(quantum.num_qubits, deferred.qubits)
    return deferred, qubits, check_memory(qubits, bytes_per_amplitude, memory_limit_bytes)
