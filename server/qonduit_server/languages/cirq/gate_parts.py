# SPDX-License-Identifier: Apache-2.0
"""The decomposition of Cirq's gates into IR gates, and their controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from qonduit_server.errors import ProgramError
from qonduit_server.ir.controls import Step
from qonduit_server.ir.limits import MAX_DEPTH, MAX_QUBITS, too_large
from qonduit_server.languages import gate_modifiers
from qonduit_server.languages.cirq.symbols import Symbols
from qonduit_server.languages.json_text import Node, integer, is_number, mapping, number, sequence, unsupported, wrong

_NOISE: Final = frozenset(
    (
        "AmplitudeDampingChannel", "AsymmetricDepolarizingChannel", "BitFlipChannel", "DepolarizingChannel",
        "GeneralizedAmplitudeDampingChannel", "KrausChannel", "MixedUnitaryChannel", "PhaseDampingChannel",
        "PhaseFlipChannel", "RandomGateChannel",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Parts:
    """The steps of a gate, on places 0 to `qubits` - 1.

    `exact`: whether its phase is known. `controls`: the number of places that are controls.
    """

    steps: list[Step]
    qubits: int
    exact: bool = True
    controls: int = 0


@dataclass(frozen=True)
class Context:
    """The context of a gate: its symbols, and a counter of its steps."""

    symbols: Symbols
    spend: Callable[[int], None]
    build: Callable[[object, Context], Parts]
    depth: int = 0

    def gate(self, node: object) -> Parts:
        """Return the parts of a gate nested in another."""
        if self.depth > MAX_DEPTH:
            raise too_large(f"gates are nested more than {MAX_DEPTH} deep")
        return self.build(node, replace(self, depth=self.depth + 1))


def kind_of(node: object, what: str) -> str:
    """Return the type of a Cirq object."""
    kind = mapping(node, what).get("cirq_type")
    if not isinstance(kind, str):
        raise wrong(f"{what} has no cirq_type")
    return kind


def unknown(kind: str) -> ProgramError:
    """Return the error for an unsupported type."""
    name = kind if len(kind) < 80 else kind[:80] + "..."
    if kind in _NOISE:
        return unsupported(f"{name} is noise that cannot stand here")
    return unsupported(f"Cirq's {name!r} is not read here: decompose it before you write the circuit")


def check_levels(node: Node, key: str = "qid_shape") -> None:
    """Reject qudits among the shapes."""
    shape = node.get(key)
    if shape is not None and any(level != 2 for level in sequence(shape, key)):
        raise unsupported("a system of more levels than a qubit has")


def check_dimension(node: Node) -> None:
    """Reject a qudit."""
    if node.get("dimension", 2) != 2:
        raise unsupported("a system of more levels than a qubit has")


def count(node: Node, key: str) -> int:
    """Return a number of qubits."""
    size = integer(node.get(key), key)
    if not 0 <= size <= MAX_QUBITS:
        raise too_large(f"{key} is {size if abs(size) < 10**9 else 'far'}, not between 0 and {MAX_QUBITS}")
    return size


def complex_number(node: object, what: str) -> complex:
    """Return a number, real or a complex one of Cirq's JSON."""
    if is_number(node):
        return complex(number(node, what))
    if not isinstance(node, dict) or node.get("cirq_type") != "complex":
        raise wrong(f"{what} is not a number")
    return complex(number(node.get("real"), what), number(node.get("imag"), what))


def controlled(parts: Parts, values: object, number_of: int, context: Context) -> Parts:
    """Return a controlled gate; the controls take the first places.

    Args:
        values: Cirq's ProductOfSums or SumOfProducts; None: all 1.
    """
    if not parts.exact:
        raise unsupported("a Clifford gate given by its tableau has no phase, so it cannot be controlled")
    if parts.controls + number_of > gate_modifiers.MAX_CONTROLS:
        raise too_large(f"a gate has more than {gate_modifiers.MAX_CONTROLS} controls")
    steps: list[Step] = []
    for product in _products(values, number_of):
        context.spend(len(parts.steps))
        kept = [place for place, value in enumerate(product) if value is not None]
        state = sum(bool(product[place]) << k for k, place in enumerate(kept))
        places = [*kept, *range(number_of, number_of + parts.qubits)]
        done = gate_modifiers.control(parts.steps, len(kept), state) if kept else list(parts.steps)
        steps.extend((gate, tuple(places[place] for place in own)) for gate, own in done)
    return Parts(steps, number_of + parts.qubits, controls=parts.controls + number_of)


def _products(values: object, number_of: int) -> list[tuple[int | None, ...]]:
    """Return the required values of controls, mutually exclusive; None: any."""
    if values is None:
        return [(1,) * number_of]
    kind = kind_of(values, "control_values")
    rows = sequence(mapping(values, "control_values").get("data"), "control_values")
    if kind == "ProductOfSums":
        sums = [set(_levels(row)) for row in rows]
        if len(sums) != number_of or not all(sums):
            raise wrong(f"{number_of} controls have {len(sums)} values, or one has none")
        return [tuple(None if len(each) == 2 else each.pop() for each in sums)]
    if kind == "SumOfProducts":
        products = dict.fromkeys(tuple(_levels(row)) for row in rows)
        if any(len(product) != number_of for product in products) or not products:
            raise wrong(f"the values of {number_of} controls are not as many")
        return list(products)
    raise unknown(kind)


def _levels(row: object) -> list[int]:
    levels = [integer(level, "a control's value") for level in sequence(row, "control_values")]
    if any(level not in (0, 1) for level in levels):
        raise unsupported("a control of a system of more levels than a qubit has")
    return levels


def moved(steps: Sequence[Step], by: int) -> list[Step]:
    """Return steps with shifted places."""
    return [(gate, tuple(place + by for place in places)) for gate, places in steps]
