# SPDX-License-Identifier: Apache-2.0
"""Cirq's density matrices on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from qonduit_server.providers.simulation.cirq_statevector import CirqStatevector
from qonduit_server.providers.simulation.density_simulator import DensityMatrixSimulator

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qonduit_server.providers.simulation.group_states import State

#: Channels of up to this many qubits are applied as one matrix on rows and columns: Cirq takes one Kraus operator after
#: another, and two-qubit depolarizing has 16.
_SUPEROPERATOR_QUBITS: Final = 2


class CirqDensity(DensityMatrixSimulator):
    """What Cirq's DensityMatrixSimulator does for each operation, without what it does around it."""

    name = "GOOGLE"
    device = "cirq_density_matrix"
    extra = "google"
    distributions = CirqStatevector.distributions
    #: The state, three buffers of the same size, and what a unitary takes beside them, in complex128.
    #: Measured with 2^20 entries: 88, and 116 where the circuit branches.
    run_bytes = 104
    branching_bytes = 136

    def __init__(self) -> None:
        super().__init__(CirqStatevector())

    def import_density(self) -> None:
        """Import the engine."""
        import cirq

        self._cirq = cirq
        self._line = cirq.LineQubit.range(64)

    def lower_channel(self, kraus: Sequence[NDArray[np.complex128]], qubits: tuple[int, ...]) -> Any:
        """Return a channel as the SDK takes it; a small one as a matrix with its qubits."""
        import numpy as np

        if len(qubits) > _SUPEROPERATOR_QUBITS:
            return self._cirq.KrausChannel(list(kraus)).on(*(self._line[qubit] for qubit in qubits))
        matrix = sum(np.kron(each, each.conj()) for each in kraus)
        return np.asarray(matrix).reshape((2,) * (4 * len(qubits))), qubits

    def evolve(self, state: State, run: Any, qubits: int) -> State:
        """Return a density matrix after one run of gates and channels."""
        import numpy as np

        cirq = self._cirq
        out, first, second = (np.empty_like(state) for _ in range(3))
        for operation in run:
            if isinstance(operation, tuple):
                matrix, places = operation
                axes = (*places, *(qubits + place for place in places))
                evolved = cirq.targeted_left_multiply(matrix, state, axes, out=out)
            else:
                rows = [qubit.x for qubit in operation.qubits]
                columns = [qubits + row for row in rows]
                evolved = cirq.apply_channel(operation, cirq.ApplyChannelArgs(state, out, first, second, rows, columns))
            if evolved is out:
                out = state
            state = evolved
        return state
