# SPDX-License-Identifier: Apache-2.0
"""How measured values become recorded bits: readout errors as exact changes of a distribution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qonduit_server.ir.noise import ReadoutError, record


@dataclass(frozen=True)
class Slot:
    """One recorded bit: the place of its measured qubit, None for a bit that is 0, and its readout errors in order."""

    source: int | None
    errors: tuple[ReadoutError, ...] = ()


@dataclass(frozen=True)
class Recording:
    """Recorded bits. Bit j of an outcome is what `slots[j]` records."""

    slots: tuple[Slot, ...]

    def distribution(self, measured: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the distribution of the recorded bits.

        Args:
            measured: the distribution of the measured qubits; bit k of an outcome is what the qubit of place k gives.
        """
        outcomes = np.arange(len(measured))
        recorded = np.zeros_like(outcomes)
        for place, slot in enumerate(self.slots):
            if slot.source is not None:
                recorded |= (outcomes >> slot.source & 1) << place
        found = np.zeros(1 << len(self.slots))
        # Measured qubits that no slot records do not occur, so that each outcome is recorded differently.
        found[recorded] = measured
        for place, slot in enumerate(self.slots):
            for error in slot.errors:
                record(found, place, error)
        return found
