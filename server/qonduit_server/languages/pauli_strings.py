# SPDX-License-Identifier: Apache-2.0
"""Products of Pauli matrices, given as letters, and their gates, for every reader.

Letter k is the factor on place k.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from qiskit.circuit import library as qk

from qonduit_server.ir.controls import Step
from qonduit_server.languages.gate_modifiers import conjugated, phase

_GATES: Final[dict[str, Callable[[], Any]]] = {"X": qk.XGate, "Y": qk.YGate, "Z": qk.ZGate}


def product(letters: str) -> list[Step]:
    """Return the steps of the product."""
    return [(_GATES[letter](), (place,)) for place, letter in enumerate(letters) if letter != "I"]


def z_basis(letter: str, place: int) -> list[Step]:
    """Return the steps that turn a Pauli into Z."""
    change: list[Step] = [(qk.SdgGate(), (place,))] if letter == "Y" else []
    return change if letter in "IZ" else [*change, (qk.HGate(), (place,))]


def to_parity(letters: str) -> tuple[list[Step], int]:
    """Return the steps that map a product's value to one place, and the place; None for identities only."""
    places = [place for place, letter in enumerate(letters) if letter != "I"]
    steps = [step for place in places for step in z_basis(letters[place], place)]
    steps.extend((qk.CXGate(), (place, places[-1])) for place in places[:-1])
    return steps, places[-1]


def phases(letters: str, plus: float, minus: float) -> list[Step]:
    """Return the steps of a phase where the product is 1, and another where it is -1."""
    if not letters.strip("I"):
        return phase(plus)
    change, place = to_parity(letters)
    return [*conjugated(change, [(qk.PhaseGate(minus - plus), (place,))]), *phase(plus)]
