# SPDX-License-Identifier: Apache-2.0
"""The hub every language is read into and every provider starts from: a Qiskit circuit and the program's own registers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qiskit import QuantumCircuit


@dataclass(frozen=True)
class ClassicalRegister:
    """A classical register of the program: bit i of its number is bit `bits[i]` of the hub circuit."""

    name: str
    bits: tuple[int, ...]


@dataclass(frozen=True)
class Circuit:
    """A program, read. `registers` are in declaration order; results are told under these names and no others.

    `warnings` say what was changed or lost in reading it, for people.
    """

    quantum: QuantumCircuit
    registers: tuple[ClassicalRegister, ...]
    warnings: tuple[str, ...] = ()

    def key(self, outcome: int) -> str:
        """Name an outcome: bit k of `outcome` is classical bit k of the hub circuit.

        Returns one hexadecimal number a register, last declared register first, separated by spaces: "0x1 0x2".
        """
        return " ".join(
            hex(sum(1 << place for place, bit in enumerate(register.bits) if outcome >> bit & 1))
            for register in reversed(self.registers)
        )


@dataclass(frozen=True)
class Outcome:
    """What a provider measured for one circuit.

    `counts` maps an outcome (bit k is classical bit k of the hub circuit; bits never written are 0) to how often it was seen.
    `meta_data` holds JSON values: SDK, version, method, times in seconds.
    """

    counts: Mapping[int, int]
    meta_data: Mapping[str, object] = field(default_factory=dict)
