# SPDX-License-Identifier: Apache-2.0
"""Channels and readout errors as Quil's noise pragmas.

Quil has noise only in place of gates, so a channel replaces an identity gate of its own. A readout error belongs to a
qubit, not to a measurement.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qonduit_server.errors import ProgramError
from qonduit_server.ir.noise import Channel, ReadoutError, successive
from qonduit_server.ir.visitor import (
    BranchStep,
    LoopStep,
    MeasureStep,
    Plain,
    ReadoutErrorStep,
    bits_read,
    bits_written,
)
from qonduit_server.languages.writing.register_layout import Layout


class Channels:
    """Writes channels as gates; equal channels have one gate."""

    def __init__(self) -> None:
        self._names: dict[tuple[bytes, ...], str] = {}
        #: The definitions of the gates and their Kraus operators.
        self.lines: list[str] = []
        self._done: set[str] = set()

    def gate(self, channel: Channel, qubits: Sequence[int]) -> str:
        """Return the line that applies a channel."""
        matrices = [each.tolist() for each in channel.kraus]
        key = tuple(each.tobytes() for each in channel.kraus)
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = f"NOISE-{len(self._names) + 1}"
            size = 1 << channel.num_qubits
            rows = (", ".join("1" if column == row else "0" for column in range(size)) for row in range(size))
            self.lines += [f"DEFGATE {name}:", *(f"    {row}" for row in rows)]
        # Quil's first qubit is the highest bit of a matrix.
        line = " ".join([name, *map(str, reversed(qubits))])
        if line not in self._done:
            self._done.add(line)
            self.lines += [f'PRAGMA ADD-KRAUS {line} "({_entries(each)})"' for each in matrices]
        return line


def readout_pragmas(steps: Sequence[Plain], layout: Layout) -> list[str]:
    """Return the lines of the readout errors of all qubits.

    Raises:
        ProgramError: UNSUPPORTED_CONSTRUCT, an error that is not that of all measurements of a qubit.
    """
    errors: dict[int, tuple[float, float]] = {}
    for qubit, error in _measurements(steps, layout):
        if errors.setdefault(qubit, error) != error:
            raise _refusal(
                f"readout errors that differ between measurements of qubit {qubit}: PRAGMA READOUT-POVM applies to all"
            )
    return [
        f'PRAGMA READOUT-POVM {qubit} "({1 - up!r} {down!r} {up!r} {1 - down!r})"'
        for qubit, (up, down) in sorted(errors.items())
        if up or down
    ]


def _measurements(steps: Sequence[Plain], layout: Layout) -> Iterator[tuple[int, tuple[float, float]]]:
    """Yield the qubit of each measurement whose outcome is kept, and the probabilities of its readout error."""
    #: The last measurement of each bit, while nothing has read the bit.
    fresh: dict[int, int] = {}
    found: list[tuple[MeasureStep, list[ReadoutError]]] = []
    for step in steps:
        if isinstance(step, ReadoutErrorStep):
            if step.clbit not in fresh:
                raise _refusal("a readout error that does not stand directly behind the measurement of its bit")
            found[fresh[step.clbit]][1].append(step.error)
            continue
        if isinstance(step, BranchStep):
            yield from _measurements(step.then, layout)
            yield from _measurements(step.otherwise, layout)
        elif isinstance(step, LoopStep):
            yield from _measurements(step.body, layout)
        for clbit in bits_read((step,)) | bits_written((step,)):
            fresh.pop(clbit, None)
        if isinstance(step, MeasureStep):
            fresh[step.clbit] = len(found)
            found.append((step, []))
    for measured, errors in found:
        if measured.clbit in layout.homes:
            yield measured.qubit, successive(errors)


def _refusal(what: str) -> ProgramError:
    return ProgramError("UNSUPPORTED_CONSTRUCT", f"Quil cannot express {what}")


def _entries(rows: Sequence[Sequence[complex]]) -> str:
    return " ".join(_number(each) for row in rows for each in row)


def _number(value: complex) -> str:
    return f"{value.real!r}{value.imag:+}i" if value.imag else repr(value.real)
