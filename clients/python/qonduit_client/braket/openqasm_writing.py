# SPDX-License-Identifier: Apache-2.0
"""Write unrolled programs in Braket's dialect of OpenQASM."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qonduit_client.dilation import dilated

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: The register of measurements in a written program.
MEASURED: Final = "b"


@dataclass(frozen=True)
class Gate:
    """One of Braket's gates.

    Attributes:
        name: in OpenQASM.
        parameters: numbers, after inputs are bound.
        qubits: controls first.
        controls: the required value of each control.
        power: of the gate without its controls; an integer.
    """

    name: str
    parameters: Sequence[Any]
    qubits: tuple[int, ...]
    controls: Sequence[int] = ()
    power: int = 1

    def line(self, qubits: Mapping[int, int]) -> str:
        """Return the line of the program, with renumbered qubits."""
        modifiers = "".join("ctrl @ " if each else "negctrl @ " for each in self.controls)
        if self.power != 1:
            modifiers += f"pow({self.power}) @ "
        parameters = f"({', '.join(_number(each) for each in self.parameters)})" if len(self.parameters) else ""
        return f"{modifiers}{self.name}{parameters} {_places(self.qubits, qubits)};"


@dataclass(frozen=True)
class Matrix:
    """A unitary matrix on qubits; the first qubit is the highest bit of rows and columns."""

    matrix: NDArray[np.complex128]
    qubits: tuple[int, ...]

    def line(self, qubits: Mapping[int, int]) -> str:
        """Return the line of the program, with renumbered qubits."""
        return f"#pragma braket unitary({_rows(self.matrix)}) {_places(self.qubits, qubits)}"


@dataclass(frozen=True)
class Noise:
    """A noise channel.

    Attributes:
        name: of the pragma.
        numbers: its probabilities; none for "kraus".
        qubits: of a Kraus operator, the first is the highest bit of rows and columns.
        operators: its Kraus operators.
    """

    name: str
    numbers: Sequence[Any]
    qubits: tuple[int, ...]
    operators: Sequence[NDArray[np.complex128]]

    def line(self, qubits: Mapping[int, int]) -> str:
        """Return the line of the program, with renumbered qubits."""
        kraus = self.operators if self.name == "kraus" else ()
        arguments = [_rows(each) for each in kraus] or [repr(float(each)) for each in self.numbers]
        return f"#pragma braket noise {self.name}({', '.join(arguments)}) {_places(self.qubits, qubits)}"


@dataclass(frozen=True)
class Reset:
    """A reset of qubits to 0."""

    qubits: tuple[int, ...]

    def line(self, qubits: Mapping[int, int]) -> str:
        """Return the line of the program, with renumbered qubits."""
        return " ".join(f"reset q[{qubits[each]}];" for each in self.qubits)


def controlled(matrix: NDArray[np.complex128], controls: Sequence[int], qubits: tuple[int, ...]) -> Matrix:
    """Return a controlled matrix; the controls, with their required values, are the first qubits."""
    size = len(matrix)
    whole: NDArray[np.complex128] = np.eye(size << len(controls), dtype=complex)
    begin = size * sum(value << place for place, value in enumerate(reversed(controls)))
    whole[begin : begin + size, begin : begin + size] = matrix
    return Matrix(whole, qubits)


def purified(steps: Iterable[Gate | Matrix | Noise | Reset]) -> tuple[list[Gate | Matrix | Reset], int]:
    """Return steps with a unitary in place of each noise, and how many further qubits these take: -1, -2 ..."""
    found: list[Gate | Matrix | Reset] = []
    taken = 0
    for step in steps:
        if isinstance(step, Noise):
            matrix, further = dilated(step.operators)
            found.append(Matrix(matrix, (*step.qubits, *range(-taken - 1, -taken - further - 1, -1))))
            taken += further
        else:
            found.append(step)
    return found, taken


def write(
    steps: Iterable[Gate | Matrix | Noise | Reset],
    qubits: Mapping[int, int],
    measured: Sequence[int],
    inputs: Sequence[str] = (),
) -> str:
    """Return the text of a program.

    Args:
        steps: its operations.
        qubits: the number of each qubit in the text; from 0, without gaps.
        measured: the qubits measured at its end, in order, by their numbers in the text.
        inputs: the free parameters of its gates.
    """
    lines = ["OPENQASM 3.0;", *(f"input float {each};" for each in inputs)]
    if measured:
        lines.append(f"bit[{len(measured)}] {MEASURED};")
    lines.append(f"qubit[{len(qubits)}] q;")
    lines += [step.line(qubits) for step in steps]
    lines += [f"{MEASURED}[{bit}] = measure q[{qubit}];" for bit, qubit in enumerate(measured)]
    return "\n".join(lines)


def _rows(matrix: NDArray[np.complex128]) -> str:
    rows = ", ".join(f"[{', '.join(_complex(complex(each)) for each in row)}]" for row in matrix)
    return f"[{rows}]"


def _places(own: Sequence[int], qubits: Mapping[int, int]) -> str:
    return ", ".join(f"q[{qubits[each]}]" for each in own)


def symbols_of(values: Iterable[Any]) -> set[str]:
    """Return the names of the free parameters of gate parameters: numbers, or expressions of SymPy."""
    return {str(symbol) for value in values for symbol in getattr(value, "free_symbols", ())}


def _number(value: Any) -> str:
    if symbols_of([value]):
        return str(value.evalf(17))  # a fraction of whole numbers would be their integer quotient
    number = float(value)
    return str(int(number)) if number == int(number) and abs(number) < 2**53 else repr(number)


def _complex(value: complex) -> str:
    return f"{value.real!r} {'-' if value.imag < 0 else '+'} {abs(value.imag)!r}im"
