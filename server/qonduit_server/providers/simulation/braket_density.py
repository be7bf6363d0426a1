# SPDX-License-Identifier: Apache-2.0
"""Amazon Braket's density-matrix simulator on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qonduit_server.providers.simulation.braket_statevector import BraketStatevector
from qonduit_server.providers.simulation.density_simulator import DensityMatrixSimulator

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qonduit_server.providers.simulation.group_states import State


class BraketDensity(DensityMatrixSimulator):
    """Braket's engine braket_dm."""

    name = "AWS"
    device = "braket_dm"
    extra = "aws"
    distributions = BraketStatevector.distributions
    status_suffix = ", engine braket_dm"
    #: The state that is given, the simulation's own, and the four arrays that it works with, in complex128.
    #: Measured with 2^20 entries: 103, and 144 where the circuit branches.
    run_bytes = 112
    branching_bytes = 152

    def __init__(self) -> None:
        super().__init__(BraketStatevector())

    def import_density(self) -> None:
        """Import the engine."""
        from braket.default_simulator.density_matrix_simulation import DensityMatrixSimulation
        from braket.default_simulator.noise_operations import Kraus

        self._simulation = DensityMatrixSimulation
        self._kraus = Kraus

    def lower_channel(self, kraus: Sequence[NDArray[np.complex128]], qubits: tuple[int, ...]) -> Any:
        """Return a channel as the SDK takes it."""
        return self._kraus(qubits, kraus)

    def evolve(self, state: State, run: Any, qubits: int) -> State:
        """Return a density matrix after one run of gates and channels."""
        simulation = self._simulation(qubits, shots=1)
        simulation.density_matrix[...] = state.reshape(1 << qubits, -1)
        simulation.evolve(run)
        evolved: State = simulation.density_matrix.reshape(state.shape)
        return evolved
