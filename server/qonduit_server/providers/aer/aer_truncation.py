# SPDX-License-Identifier: Apache-2.0
"""What Aer's matrix product states discard: read from its log, and turned into a bound of the fidelity.

Aer (0.18) writes for each gate on two qubits the weight of the Schmidt coefficients that it dropped, and then
normalizes the state. A weight w turns the state by the angle arcsin(sqrt(w)). Angles between states add up at most, and
gates do not change them: the final state is at most the sum of all angles away from the exact one.
"""

from __future__ import annotations

import math
import re
from typing import Final, NamedTuple

#: Schmidt coefficients are dropped, smallest first, as long as the sum of their squares is below this: Aer's default.
THRESHOLD: Final = 1e-16
#: Options of Aer that have every weight logged.
LOG_OPTIONS: Final = {"mps_log_data": True, "chop_threshold": 0.0}
_WEIGHT: Final = re.compile(r"discarded_value=([0-9.e+-]+)")
_DIMENSIONS: Final = re.compile(r"BD=\[([0-9 ]*)\]")
#: The log has six digits.
_ROUNDING: Final = 1 + 1e-5


class Truncation(NamedTuple):
    """What a run discarded.

    Args:
        weight: the sum of the discarded weights.
        fidelity: the final state has at least this fidelity.
        approximate: whether more was discarded than `THRESHOLD` allows at any gate: the bond dimension was too small.
        bond_dimension: the largest that occurred.
    """

    weight: float
    fidelity: float
    approximate: bool
    bond_dimension: int


def truncation(log: str) -> Truncation:
    """Return the weight that a run discarded, from its log."""
    weights = [float(each) * _ROUNDING for each in _WEIGHT.findall(log)]
    angle = math.fsum(math.asin(math.sqrt(min(1.0, each))) for each in weights)
    fidelity = math.cos(angle) ** 2 if angle < math.pi / 2 else 0.0
    largest = max((int(each) for each in set(" ".join(set(_DIMENSIONS.findall(log))).split())), default=1)
    return Truncation(math.fsum(weights), fidelity, any(each > THRESHOLD * 1.01 for each in weights), largest)


def log_bytes(entries: int, qubits: int) -> int:
    """Return the maximum size in bytes of the log of a run, by its number of two-qubit gates and swaps."""
    return entries * (5 * qubits + 100)
