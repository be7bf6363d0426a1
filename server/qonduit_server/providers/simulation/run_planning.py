# SPDX-License-Identifier: Apache-2.0
"""Run planning for simulators that measure at the end only: one run with deferred measurement, or branching."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from qonduit_server.errors import DeviceError, LimitError
from qonduit_server.ir.deferral import Deferred, defer
from qonduit_server.ir.lowering import Lowering
from qonduit_server.ir.noise import Channel
from qonduit_server.providers.provider import check_memory, task_memory
from qonduit_server.providers.simulation.branching import (
    BYTES_PER_AMPLITUDE,
    METHOD,
    MOST_SPARE_STATES,
    Branching,
    Engine,
    branching,
)
from qonduit_server.providers.simulation.group_states import VECTORS, StateKind

if TYPE_CHECKING:
    from qiskit.circuit import Instruction, QuantumCircuit

#: Helper qubits are taken up to this many axes of a state in all. One run of these costs no more than a few hundred
#: groups of shots; beyond, each helper multiplies the cost of the one run, and of branching at most.
_DEFERRED_AXES: Final = 14


@dataclass(frozen=True)
class Method:
    """How states are simulated.

    Args:
        engine: applies gates; to density matrices channels as well.
        is_native: whether the engine takes a gate as it is.
        run_bytes: memory for one entry of a state, in bytes, of a run without branches.
        kind: vectors or density matrices.
        channels: whether circuits may have channels: vectors follow them as trajectories.
        name: in a result's meta data; empty for the name that the SDK gives.
        branching_bytes: as `run_bytes`, of a run that branches.
        double: whether the job asks for double precision, where the engine may draw shots in single precision.
    """

    engine: Engine
    is_native: Callable[[Instruction], bool]
    run_bytes: int
    kind: StateKind = VECTORS
    channels: bool = False
    name: str = ""
    branching_bytes: int = BYTES_PER_AMPLITUDE
    double: bool = False

    def lowering(self, device: str, *, channels: bool) -> Lowering:
        """Return what expands the operations of a circuit, and whether channels are among the native ones."""
        if not channels:
            return Lowering(device, self.is_native)
        return Lowering(device, lambda operation: isinstance(operation, Channel) or self.is_native(operation))

    def check(self, qubits: int, bytes_per_entry: int, memory_limit_bytes: int) -> int:
        """Return what a state takes, in bytes; raise a LimitError if it does not fit."""
        return check_memory(qubits, bytes_per_entry, memory_limit_bytes, axes=self.kind.axes)


def plan(
    quantum: QuantumCircuit, device: str, method: Method, memory_limit_bytes: int
) -> tuple[Deferred | Branching, int, int]:
    """Choose the cheaper way to run a circuit, and convert it to that form.

    Args:
        quantum: the IR circuit.
        device: for messages, "PROVIDER/device".
        method: how states are simulated.
        memory_limit_bytes: what a run may need; 0 means as much as the machine has.

    Returns:
        The circuit in that form, its number of simulated qubits, and the memory it needs, in bytes.

    Raises:
        DeviceError: the device lacks a construct, by name.
        LimitError: reason MEMORY_LIMIT.
    """
    axes = method.kind.axes

    def check(qubits: int, helpers: int) -> None:
        if qubits > max(quantum.num_qubits, _DEFERRED_AXES // axes):
            raise LimitError("TOO_LARGE", "cheaper by branching")
        if helpers:
            method.check(qubits, method.run_bytes, memory_limit_bytes)

    method.check(quantum.num_qubits, method.run_bytes, memory_limit_bytes)
    try:
        # Channels are exact for density matrices alone: vectors branch at them.
        deferred = defer(quantum, method.lowering(device, channels=axes > 1), device, check)
    except (DeviceError, LimitError):
        limit = min(memory_limit_bytes or task_memory(), task_memory())
        program = branching(
            quantum,
            method.lowering(device, channels=method.channels),
            device,
            method.engine,
            method.kind,
            method.name or METHOD,
        )
        need = method.check(program.qubits, method.branching_bytes, memory_limit_bytes)
        program.spare_bytes = min((limit - need) // 4, MOST_SPARE_STATES * (16 << axes * program.qubits))
        return program, program.qubits, need + program.spare_bytes
    qubits = max(quantum.num_qubits, deferred.qubits)
    return deferred, qubits, method.check(qubits, method.run_bytes, memory_limit_bytes)
