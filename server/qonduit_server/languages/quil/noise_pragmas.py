# SPDX-License-Identifier: Apache-2.0
"""Quil's noise pragmas, as pyQuil writes them: Kraus operators in place of gates, and readout errors of qubits.

A pragma applies to the whole program, wherever it stands. Kraus operators include the gate that they replace; its first
qubit is the highest bit of a matrix. The entry p_ij of a readout matrix is the probability to record i where j is true.
"""

from __future__ import annotations

import cmath
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Final, TypeAlias

import numpy as np
from quil.instructions import Pragma, PragmaArgument

from qonduit_server.errors import ProgramError
from qonduit_server.ir import noise
from qonduit_server.ir.noise import MAX_CHANNEL_QUBITS, TOLERANCE, Channel, ReadoutError

ADD_KRAUS: Final = "ADD-KRAUS"
READOUT_POVM: Final = "READOUT-POVM"
#: A gate on qubits.
Key: TypeAlias = tuple[str, tuple[int, ...]]

_REAL: Final = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_ENTRY: Final = re.compile(
    rf"(?P<real>[+-]?{_REAL})(?:(?P<more>[+-](?:{_REAL})?)i)?|(?P<alone>[+-]?(?:{_REAL})?)i", re.ASCII
)
#: Maximum number of characters of an entry.
_MAX_WORD: Final = 100
#: Maximum number of gates or qubits that a warning names.
_MAX_NAMED: Final = 5


class NoisePragmas:
    """The noise of a program."""

    def __init__(self) -> None:
        #: The readout errors by qubit; of several pragmas for a qubit the last one applies.
        self.readouts: dict[int, ReadoutError] = {}
        self._operators: dict[Key, list[np.ndarray[tuple[int, int], np.dtype[np.complex128]]]] = {}
        self._lines: dict[Key, int] = {}
        self._channels: dict[Key, Channel] = {}

    def add(self, pragma: Pragma, line: int) -> None:
        """Add a pragma of noise.

        Raises:
            ProgramError: it is not well formed, or its numbers are no probabilities.
        """
        numbers = _entries(pragma)
        if pragma.name == READOUT_POVM:
            self._add_readout(_qubits(pragma, pragma.arguments), numbers, pragma)
            return
        name = pragma.arguments[0] if pragma.arguments else None
        if not isinstance(name, PragmaArgument.Identifier):
            raise _malformed(pragma, "must name a gate and its qubits")
        qubits = _qubits(pragma, pragma.arguments[1:])
        if len(qubits) > MAX_CHANNEL_QUBITS:
            raise _wrong(pragma, f"Kraus operators act on 1 to {MAX_CHANNEL_QUBITS} qubits, got {len(qubits)}")
        size = 1 << len(qubits)
        if len(numbers) != size * size:
            raise _malformed(pragma, f"a matrix on {len(qubits)} qubits has {size * size} entries, got {len(numbers)}")
        key = (name._0, qubits)
        self._operators.setdefault(key, []).append(np.array(numbers, dtype=np.complex128).reshape(size, size))
        self._lines.setdefault(key, line)

    def _add_readout(self, qubits: Sequence[int], numbers: Sequence[complex], pragma: Pragma) -> None:
        if len(qubits) != 1 or len(numbers) != 4:
            raise _malformed(
                pragma, f"must have one qubit and 4 probabilities, got {len(qubits)} and {len(numbers)} of them"
            )
        wrong = [each for each in numbers if each.imag or not 0 <= each.real <= 1]
        if wrong:
            shown = wrong[0] if wrong[0].imag else wrong[0].real
            raise _wrong(pragma, f"a probability must be between 0 and 1, got {shown}")
        true_0, true_1 = (numbers[0] + numbers[2]).real, (numbers[1] + numbers[3]).real
        for total in (true_0, true_1):
            if abs(total - 1) > TOLERANCE:
                raise _wrong(
                    pragma,
                    "the probabilities (p00 p01 p10 p11) must satisfy p00 + p10 = 1 and p01 + p11 = 1, "
                    f"got {true_0:.10g} and {true_1:.10g}",
                )
        self.readouts[qubits[0]] = ReadoutError(numbers[2].real, numbers[1].real)

    def finish(self) -> None:
        """Make a channel of the operators of each gate.

        Raises:
            ProgramError: INVALID_NOISE, with the line of the gate's first pragma.
        """
        for key, operators in self._operators.items():
            try:
                self._channels[key] = noise.kraus(operators)
            except ProgramError as error:
                line = self._lines[key]
                where = f"line {line}: " if line else ""
                raise ProgramError(
                    error.reason, f"{where}{_title(key)}: {error.message}", line=line, column=1
                ) from error

    @property
    def replaces_gates(self) -> bool:
        """Whether there are Kraus operators."""
        return bool(self._channels)

    def channel(self, name: str, qubits: tuple[int, ...]) -> Channel | None:
        """Return the channel that replaces a gate; its qubits are those of the gate in reversed order."""
        return self._channels.get((name, qubits))

    def targets(self, name: str, qubits: tuple[int, ...]) -> bool:
        """Return whether a gate that is modified acts on the last of these qubits with Kraus operators of its own."""
        return any((name, qubits[place:]) in self._channels for place in range(len(qubits)))

    def unused(self, gates: Collection[Key], measured: Collection[int]) -> Iterator[str]:
        """Yield warnings about pragmas of gates that do not occur and of qubits that are not measured."""
        idle = [_title(key) for key in self._channels if key not in gates]
        if idle:
            yield f"{_listed(idle)}: the program does not apply this gate"
        unread = [f"PRAGMA {READOUT_POVM} {qubit}" for qubit in self.readouts if qubit not in measured]
        if unread:
            yield f"{_listed(unread)}: the program does not measure this qubit"


def _title(key: Key) -> str:
    return " ".join(["PRAGMA", ADD_KRAUS, key[0], *map(str, key[1])])


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - _MAX_NAMED
    return ", ".join(names[:_MAX_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _qubits(pragma: Pragma, arguments: Sequence[PragmaArgument]) -> tuple[int, ...]:
    qubits = tuple([each._0 for each in arguments if isinstance(each, PragmaArgument.Integer)])
    if not qubits or len(qubits) < len(arguments):
        raise _malformed(pragma, "must name qubits by their numbers")
    if len(set(qubits)) < len(qubits):
        raise _malformed(pragma, "names a qubit twice")
    return qubits


def _entries(pragma: Pragma) -> list[complex]:
    """Return the numbers between the brackets of a pragma's text."""
    text = (pragma.data or "").strip()
    if not text.startswith("(") or not text.endswith(")"):
        raise _malformed(pragma, f'must end with numbers in brackets, "(...)", got {text[:40]!r}')
    return [_number(pragma, word) for word in text[1:-1].split()]


def _number(pragma: Pragma, word: str) -> complex:
    match = _ENTRY.fullmatch(word) if len(word) <= _MAX_WORD else None
    if match is None:
        raise _malformed(pragma, f"{word[:40]!r} is not a number")
    imaginary = match["alone"] if match["real"] is None else match["more"]
    if imaginary in ("", "+", "-"):
        imaginary += "1"
    number = complex(float(match["real"] or 0), float(imaginary or 0))
    if not cmath.isfinite(number):
        raise _malformed(pragma, f"{word!r} is too large")
    return number


def _malformed(pragma: Pragma, what: str) -> ProgramError:
    return ProgramError("SYNTAX_ERROR", f"{_shown(pragma)}: {what}")


def _wrong(pragma: Pragma, what: str) -> ProgramError:
    return ProgramError("INVALID_NOISE", f"{_shown(pragma)}: {what}")


def _shown(pragma: Pragma) -> str:
    arguments = [str(each._0)[:40] for each in pragma.arguments if hasattr(each, "_0")]
    return " ".join(["PRAGMA", pragma.name, *arguments[:_MAX_NAMED]])
