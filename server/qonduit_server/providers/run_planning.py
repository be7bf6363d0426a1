# SPDX-License-Identifier: Apache-2.0
"""Run planning for simulators that measure at the end only: one run with deferred measurement, or branching."""

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

#: Maximum number of qubits with helpers. Up to here one run costs no more than a few hundred groups of shots. Beyond,
#: each helper doubles the cost of the one run, but at most that of branching.
_DEFERRED_QUBITS: Final = 14


def plan(
    quantum: QuantumCircuit,
    device: str,
    is_native: Callable[[Instruction], bool],
    engine: Engine,
    bytes_per_amplitude: int,
    memory_limit_bytes: int,
) -> tuple[Deferred | Branching, int, int]:
    """Choose the cheaper way to run a circuit, and convert it to that form.

    Args:
        quantum: the IR circuit.
        device: for messages, "PROVIDER/device".
        is_native: whether the device has an operation.
        engine: applies gates of a branching circuit.
        bytes_per_amplitude: memory of one run without branches.
        memory_limit_bytes: memory limit of a run; 0 means the machine's memory.

    Returns:
        The circuit in that form, its number of simulated qubits, and the memory it needs, in bytes.

    Raises:
        DeviceError: the device lacks a construct, by name.
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
