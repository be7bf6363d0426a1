# SPDX-License-Identifier: Apache-2.0
"""The direction in which Aer's matrix product states bring the qubits of a gate together.

Aer (0.18) applies a gate to neighbours: it swaps one qubit towards the other, and leaves it there. Which one moves is
an option; the cost and the log of a run grow with the number of swaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

#: Values of Aer's option: the qubit on the right moves (its default), or the one on the left.
LEFT: Final = "mps_swap_left"
RIGHT: Final = "mps_swap_right"


def fewest_swaps(pairs: Sequence[tuple[int, ...]], qubits: int) -> tuple[str, int]:
    """Return the direction with fewer swaps, Aer's default if both have the same number, and the number.

    Args:
        pairs: the qubits of each gate on two qubits, in order.
        qubits: of the circuit.
    """
    left, right = _swaps(pairs, qubits, LEFT), _swaps(pairs, qubits, RIGHT)
    return (RIGHT, right) if right < left else (LEFT, left)


def _swaps(pairs: Sequence[tuple[int, ...]], qubits: int, direction: str) -> int:
    order = list(range(qubits))
    total = 0
    for first, second in pairs:
        left, right = sorted((order.index(first), order.index(second)))
        between = right - left - 1
        if not between:
            continue
        total += between
        if direction == RIGHT:
            order.insert(right - 1, order.pop(left))
        else:
            order.insert(left + 1, order.pop(right))
    return total
