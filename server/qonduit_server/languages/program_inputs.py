# SPDX-License-Identifier: Apache-2.0
"""Validation of a job's input values, and its errors, for every reader."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from qonduit_server.errors import ProgramError
from qonduit_server.ir.symbolic import Symbolic, is_symbolic, symbol
from qonduit_server.languages.signatures import Inputs

#: Maximum number of inputs that a message lists.
_LISTED = 20


class SweptInputs(dict[str, object]):
    """Inputs some of which are swept: each of these must be an input of the program.

    Args:
        inputs: the values, by name.
        free: names of the swept inputs; those without a value are symbols.
    """

    def __init__(self, inputs: Inputs, free: frozenset[str]) -> None:
        super().__init__(inputs)
        self.free = free
        self.symbols: Mapping[str, Symbolic] = {name: symbol(name) for name in free if name not in inputs}
        self.update(self.symbols)


def missing(name: str) -> ProgramError:
    """Return the error for an input without a value."""
    return ProgramError("MISSING_INPUT", f"the program needs a value for {name!r}: set it in job.inputs")


def unused(inputs: Inputs, known: Collection[str]) -> tuple[str, ...]:
    """Return warnings about values that match none of the program's inputs `known`.

    Raises:
        ProgramError: reason UNKNOWN_INPUT, a swept input does not exist.
    """
    unknown = [name for name in inputs if name not in known]
    if isinstance(inputs, SweptInputs):
        for name in unknown:
            if name in inputs.free:
                raise _unknown(name, known)
    return tuple(unknown_input(name) for name in unknown)


def unknown_input(name: str) -> str:
    """Return the warning about a value that matches no input."""
    return f"input {name!r} is not one of the program's"


def _unknown(name: str, known: Iterable[str]) -> ProgramError:
    names = sorted(known)
    listed = ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
    has = f"its inputs are {listed}" if names else "it has no inputs"
    return ProgramError("UNKNOWN_INPUT", f"the program has no parameter {name!r}: {has} (an element is name[0])")


def elements(name: str, sizes: Sequence[int], inputs: Inputs, used: set[str]) -> object:
    """Return the value of an array, given whole or by its elements, as in "a[0]".

    Args:
        name: of the array.
        sizes: its dimensions; none for a number.
        inputs: the values.
        used: collects the names that were found.

    Raises:
        ProgramError: MISSING_INPUT.
    """
    if name in inputs:
        used.add(name)
        return inputs[name]
    if not sizes or not any(each.startswith(f"{name}[") for each in inputs):
        raise missing(name)
    return [elements(f"{name}[{place}]", sizes[1:], inputs, used) for place in range(sizes[0])]


def number(name: str, given: object) -> float:
    """Return the value of a number input; a free input is a `Symbolic`."""
    if isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given):
        return given
    if not is_symbolic(given):
        raise mismatch(name, "a finite number", given)
    symbolic: float = given  # type: ignore[assignment]
    return symbolic


def mismatch(name: str, expected: str, given: object) -> ProgramError:
    """Return the error for an input value of a wrong type."""
    shown = repr(given)
    shown = shown if len(shown) < 60 else shown[:60] + "..."
    return ProgramError("INVALID_INPUT", f"the input {name!r} must be {expected}, got {shown}")
