# SPDX-License-Identifier: Apache-2.0
"""Programs that Braket's interpreter has unrolled, written in Braket's dialect of OpenQASM for the server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: The register that a written program measures into.
MEASURED: Final = "b"


@dataclass(frozen=True)
class Gate:
    """One of Braket's gates.

    Attributes:
        name: as in OpenQASM.
        parameters: anything that is a number once inputs are bound.
        qubits: controls first.
        controls: the value that each control must have.
        power: of the gate without its controls; whole.
    """

    name: str
    parameters: Sequence[Any]
    qubits: tuple[int, ...]
    controls: Sequence[int] = ()
    power: int = 1

    def line(self, qubits: Mapping[int, int]) -> str:
        """As a line of a program whose qubits have these numbers instead."""
        modifiers = "".join("ctrl @ " if each else "negctrl @ " for each in self.controls)
        if self.power != 1:
            modifiers += f"pow({self.power}) @ "
        parameters = f"({', '.join(_number(each) for each in self.parameters)})" if len(self.parameters) else ""
        return f"{modifiers}{self.name}{parameters} {_places(self.qubits, qubits)};"


@dataclass(frozen=True)
class Matrix:
    """A unitary matrix on qubits, of which the first is the highest bit of rows and columns."""

    matrix: NDArray[np.complex128]
    qubits: tuple[int, ...]

    def line(self, qubits: Mapping[int, int]) -> str:
        """As a line of a program whose qubits have these numbers instead."""
        rows = ", ".join(f"[{', '.join(_complex(complex(each)) for each in row)}]" for row in self.matrix)
        return f"#pragma braket unitary([{rows}]) {_places(self.qubits, qubits)}"


@dataclass(frozen=True)
class Reset:
    """Qubits that are set to 0."""

    qubits: tuple[int, ...]

    def line(self, qubits: Mapping[int, int]) -> str:
        """As a line of a program whose qubits have these numbers instead."""
        return " ".join(f"reset q[{qubits[each]}];" for each in self.qubits)


def controlled(matrix: NDArray[np.complex128], controls: Sequence[int], qubits: tuple[int, ...]) -> Matrix:
    """Return a matrix under controls, which are the first of the qubits, with the value that each must have."""
    size = len(matrix)
    whole: NDArray[np.complex128] = np.eye(size << len(controls), dtype=complex)
    begin = size * sum(value << place for place, value in enumerate(reversed(controls)))
    whole[begin : begin + size, begin : begin + size] = matrix
    return Matrix(whole, qubits)


def write(steps: Iterable[Gate | Matrix | Reset], qubits: Mapping[int, int], measured: Sequence[int]) -> str:
    """Return the text of a program.

    Args:
        steps: what it does.
        qubits: the number each qubit has in the text; from 0, without gaps.
        measured: the qubits that are measured at its end, in order, by their numbers in the text.
    """
    lines = ["OPENQASM 3.0;"]
    if measured:
        lines.append(f"bit[{len(measured)}] {MEASURED};")
    lines.append(f"qubit[{len(qubits)}] q;")
    lines += [step.line(qubits) for step in steps]
    lines += [f"{MEASURED}[{bit}] = measure q[{qubit}];" for bit, qubit in enumerate(measured)]
    return "\n".join(lines)


def _places(own: Sequence[int], qubits: Mapping[int, int]) -> str:
    return ", ".join(f"q[{qubits[each]}]" for each in own)


def _number(value: Any) -> str:
    number = float(value)
    return str(int(number)) if number == int(number) and abs(number) < 2**53 else repr(number)


def _complex(value: complex) -> str:
    return f"{value.real!r} {'-' if value.imag < 0 else '+'} {abs(value.imag)!r}im"
