# SPDX-License-Identifier: Apache-2.0
"""The IR between languages and providers: a Qiskit circuit and the program's own registers.

The IR is a subset of Qiskit's circuits: gates, `Measure`, `Reset`, `Barrier` and `Delay` on qubits and bits; `IfElseOp`
with one body and `WhileLoopOp`, whose conditions are Boolean expressions of bits; `Store` of such an expression into a
bit. It has no other control flow, and ignores Qiskit's registers. A program that was read with free inputs has gates
whose parameters are expressions over `Parameter(name)`; `ir.parameters` binds them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final

from qonduit_server.ir.formula import Formula, bit

if TYPE_CHECKING:
    from qiskit import QuantumCircuit
    from qiskit.circuit import Instruction

_CONTROL_FLOW: Final = frozenset(("if_else", "while_loop", "for_loop", "switch_case"))


@dataclass(frozen=True)
class ClassicalRegister:
    """A classical register of the program.

    Bit i of its number is `bits[i]`: a classical bit of the IR circuit, or a formula over several of them (a program
    may compute with measured bits).
    """

    name: str
    bits: tuple[int | Formula, ...]


@dataclass(frozen=True)
class Circuit:
    """A program in the IR. `registers` are in declaration order; results name these registers only.

    `qubit_names` are names by which a device may know the qubits, one each, "4_1" for row 4 and column 1; empty if the
    program has none. `warnings` describe what the reader changed or dropped. `lines` map constructs (named as in
    `ir.requirements`) to their first line, where the reader knows it. `parameters` are the names of the free inputs
    that the gates depend on, in sorted order; an array's elements are `name[i]`. Only a circuit without them is run
    and written.
    """

    quantum: QuantumCircuit
    registers: tuple[ClassicalRegister, ...]
    warnings: tuple[str, ...] = ()
    lines: Mapping[str, int] = field(default_factory=dict)
    qubit_names: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()

    def key(self, outcome: int) -> str:
        """Name an outcome: bit k of `outcome` is classical bit k of the IR circuit.

        Returns one hexadecimal number a register, last declared register first, separated by spaces: "0x1 0x2".
        """
        return " ".join([hex(read(outcome)) for read in self._readers])

    def values(self, outcome: int) -> list[int]:
        """Return the number of each register in `key`, last declared register first."""
        return [read(outcome) for read in self._readers]

    @cached_property
    def _readers(self) -> list[Callable[[int], int]]:
        return [_reader(register.bits) for register in reversed(self.registers)]


def _reader(bits: tuple[int | Formula, ...]) -> Callable[[int], int]:
    """Return a function from outcomes to a register's number; adjacent bits, the usual case, take one shift."""
    first = bits[0] if bits else 0
    if isinstance(first, int) and bits == tuple(range(first, first + len(bits))):
        mask = (1 << len(bits)) - 1
        return lambda outcome: outcome >> first & mask
    places = [entry if isinstance(entry, Formula) else bit(entry) for entry in bits]
    return lambda outcome: sum(formula.value(outcome) << place for place, formula in enumerate(places))


@dataclass(frozen=True)
class Outcome:
    """A provider's measurement of one circuit.

    `counts` maps an outcome (bit k is classical bit k of the IR circuit; bits never written are 0) to its count.
    `meta_data` holds JSON values: SDK, version, method, times in seconds. `exact` maps outcomes to their exact
    probabilities, in place of counts, where these were requested.
    """

    counts: Mapping[int, int]
    meta_data: Mapping[str, object] = field(default_factory=dict)
    exact: Mapping[int, float] | None = None


def contains(quantum: QuantumCircuit, kinds: Mapping[str, type[Instruction]]) -> bool:
    """Return whether a circuit has operations of certain classes, in blocks of control flow too.

    Args:
        quantum: the circuit.
        kinds: the classes, by the names of their operations. A circuit without these names is not searched; a name is
            not enough, because a program may give it to a gate of its own.
    """
    counted = quantum.count_ops()
    if any(name in counted for name in kinds):
        classes = tuple(kinds.values())
        if any(isinstance(instruction.operation, classes) for instruction in quantum.data):
            return True
    if _CONTROL_FLOW.isdisjoint(counted):
        return False
    return any(
        contains(block, kinds) for instruction in quantum.data for block in getattr(instruction.operation, "blocks", ())
    )
