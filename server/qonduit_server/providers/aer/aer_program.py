# SPDX-License-Identifier: Apache-2.0
"""A program as Aer runs it: what the compiler of Aer's devices makes and their execution takes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from qonduit_server.providers.aer.aer_methods import (
    DEFAULT_BOND_DIMENSION,
    DEFAULT_MIN_FIDELITY,
    MATRIX_PRODUCT_STATE,
    STATEVECTOR,
    TRAJECTORIES,
)
from qonduit_server.providers.aer.aer_swaps import LEFT
from qonduit_server.providers.aer.aer_truncation import LOG_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from qiskit.circuit import QuantumCircuit

    from qonduit_server.ir.deferral import Deferred
    from qonduit_server.providers.simulation.readout import FinalReadout


class Kind(Enum):
    """How a program's counts come about."""

    #: Nothing random is measured: there is no circuit.
    NOTHING = "nothing"
    #: One evolution returns the probabilities of the measured qubits, from which shots are drawn.
    PROBABILITIES = "probabilities"
    #: One evolution and one shot; the others are drawn from the space of outcomes.
    AFFINE = "affine"
    #: Aer draws all shots from one evolution.
    SAMPLED = "sampled"
    #: Each shot is an evolution of its own.
    SHOTS = "shots"


@dataclass(frozen=True)
class AerProgram:
    """A program as Aer runs it.

    Args:
        kind: how its counts come about.
        circuit: what Aer runs.
        method: the simulation method.
        deferred: what the measured qubits mean, where measurements were moved to the end.
        final: what the measured qubits mean, where a circuit with noise has them at the end.
        basis: the differences of outcomes, where `kind` is AFFINE.
        block: how many shots have one seed, where `kind` is SHOTS.
        single: whether amplitudes have single precision.
        bond: the largest bond dimension, of a matrix product state.
        min_fidelity: the fidelity that must be certain, of a matrix product state.
        swaps: the direction of swaps, of a matrix product state.
        noise: Aer's noise model for the gates, where the circuit does not contain its noise.
        slots: of a template, the angles of `circuit` that are given with the run: the places of the gates, and of the
            angles in these.
        angles: their values, and behind them the global phase of a circuit that saves its state, where that is open.
        exact: of a template, returns the program that gives exact probabilities.
    """

    kind: Kind
    circuit: QuantumCircuit | None = None
    method: str = STATEVECTOR
    deferred: Deferred | None = None
    final: FinalReadout | None = None
    basis: tuple[int, ...] = ()
    block: int = 0
    single: bool = False
    bond: int = DEFAULT_BOND_DIMENSION
    min_fidelity: float = DEFAULT_MIN_FIDELITY
    swaps: str = LEFT
    noise: Any = None
    slots: tuple[tuple[int, int], ...] = ()
    angles: Sequence[float] = ()
    exact: Callable[[], AerProgram | None] | None = None

    @property
    def options(self) -> dict[str, object]:
        """What Aer must be given to run it."""
        options: dict[str, object] = {"method": STATEVECTOR if self.method == TRAJECTORIES else self.method}
        if self.single:
            options["precision"] = "single"
        if self.noise is not None:
            options["noise_model"] = self.noise
        if self.method == MATRIX_PRODUCT_STATE:
            options |= {
                **LOG_OPTIONS,
                "matrix_product_state_max_bond_dimension": self.bond,
                "mps_swap_direction": self.swaps,
            }
        return options

    def outcomes(self, samples: Mapping[int, int], generator: np.random.Generator) -> Mapping[int, int]:
        """Return the IR's outcomes for samples of what the circuit measures."""
        if self.deferred is not None:
            return self.deferred.outcomes(samples)
        if self.final is not None:
            return self.final.recorded(samples, generator)
        return samples
