# SPDX-License-Identifier: Apache-2.0
"""Measurement keys of Cirq's circuits, and conditions on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from qonduit_server.ir.circuit import ClassicalRegister
from qonduit_server.ir.classical.values import Bits, Value, checked, equal, truth
from qonduit_server.ir.formula import FALSE, Formula, disjunction, negation
from qonduit_server.ir.limits import MAX_NAME_BYTES, too_large
from qonduit_server.languages.cirq.gate_parts import kind_of, unknown
from qonduit_server.languages.cirq.symbols import evaluate
from qonduit_server.languages.json_text import (
    Node,
    integer,
    mapping,
    sequence,
    shown,
    text,
    unsupported,
    wrong,
)

#: The record of one measurement: a formula for each qubit, in order.
Record = tuple[Formula, ...]


@dataclass
class Keys:
    """The keys of one circuit and their names in the whole program.

    A nested circuit prepends a path to the keys it measures. As in Cirq, a condition refers to the innermost key of its
    name that an earlier moment measured.
    """

    path: tuple[str, ...] = ()
    #: Maps of names to those in the enclosing circuits, innermost first.
    renamed: tuple[dict[str, str], ...] = ()
    #: Visible keys, and the lengths of their paths.
    visible: dict[str, int] = field(default_factory=dict)
    #: Keys of the current moment.
    pending: dict[str, int] = field(default_factory=dict)
    #: All keys measured in this circuit and its nested circuits.
    measured: dict[str, int] = field(default_factory=dict)

    def name(self, name: str) -> str:
        """Return a key's name after all renaming."""
        for names in self.renamed:
            name = names.get(name, name)
        return name

    def inner(self, path: tuple[str, ...], names: dict[str, str]) -> Keys:
        """Return the keys of a nested circuit."""
        visible = {key: length for key, length in self.visible.items() if length <= len(self.path)}
        return Keys((*self.path, *path), (names, *self.renamed) if names else self.renamed, visible)

    def close_moment(self) -> None:
        """Make this moment's measurements visible to conditions of later moments."""
        self.visible.update(self.pending)
        self.measured.update(self.pending)
        self.pending = {}


class Records:
    """All measurements of a program so far, by key."""

    def __init__(self) -> None:
        self.of: dict[str, list[Record]] = {}
        #: The number of qubits of each key, in order of appearance.
        self.sizes: dict[str, int] = {}
        #: Keys with an unknown number of measurements.
        self.uncounted: set[str] = set()

    def add(self, keys: Keys, written: str, record: Record) -> str:
        """Record a measurement under a key as its circuit writes it; return the key in the whole program."""
        *path, name = written.split(":")
        full = joined((*keys.path, *path), keys.name(name))
        if self.sizes.setdefault(full, len(record)) != len(record):
            raise wrong(f"the key {full!r} is measured on {self.sizes[full]} qubits, and elsewhere on {len(record)}")
        self.of.setdefault(full, []).append(record)
        keys.pending[full] = len(keys.path) + len(path)
        return full

    def copy(self) -> Records:
        """Return a copy of the records so far."""
        copied = Records()
        copied.of = {key: list(records) for key, records in self.of.items()}
        copied.sizes, copied.uncounted = dict(self.sizes), set(self.uncounted)
        return copied

    def restore(self, before: Records) -> None:
        """Forget the records since a copy was made."""
        self.of, self.sizes, self.uncounted = before.of, before.sizes, before.uncounted

    def registers(self) -> tuple[ClassicalRegister, ...]:
        """Return a register for each key, with its last measurement; the first qubit is bit 0."""
        return tuple(
            ClassicalRegister(key, tuple(each.number if each.kind == "bit" else each for each in self.of[key][-1]))
            for key in self.sizes
        )


def joined(path: Sequence[str], name: str) -> str:
    """Return a key as Cirq writes it."""
    full = ":".join((*path, name))
    if len(full.encode()) > MAX_NAME_BYTES:
        raise too_large(f"the name of a measurement key is longer than {MAX_NAME_BYTES} bytes")
    return full


def texts(node: object, what: str) -> tuple[str, ...]:
    """Return a path."""
    return tuple(text(each, what) for each in sequence(node, what))


@dataclass(frozen=True)
class Conditions:
    """Conditions of one circuit.

    Args:
        within: whether the circuit is nested in another.
        tick: see `evaluate`.
    """

    records: Records
    keys: Keys
    within: bool
    tick: Callable[[], None]

    def formula(self, node: object) -> Formula:
        """Return the formula of a condition.

        Raises:
            ProgramError: it tests a key that is not measured, or is of an unknown kind.
        """
        kind = kind_of(node, "a condition")
        fields = mapping(node, "a condition")
        if kind == "KeyCondition":
            return disjunction(self._measured(fields, plain=True))
        if kind == "BitMaskKeyCondition":
            return self._masked(fields)
        if kind == "SympyCondition":
            return checked(truth(evaluate(fields.get("expr"), self._value, self.tick)))
        raise unknown(kind)

    def _masked(self, fields: Node) -> Formula:
        mask, target = fields.get("bitmask"), integer(fields.get("target_value", 0), "target_value")
        match_equal = fields.get("equal_target", False) is True
        bits = self._measured(fields, plain=mask is None and target == 0 and not match_equal)[::-1]
        if mask is not None:
            wanted = integer(mask, "bitmask")
            if wanted < 0 or wanted.bit_length() > 4 * MAX_NAME_BYTES:
                raise wrong("a bitmask is negative, or has thousands of bits")
            bits = tuple(each if wanted >> place & 1 else FALSE for place, each in enumerate(bits))
        same = truth(equal(Bits(bits), target))
        return same if match_equal else negation(same)

    def _measured(self, fields: Node, plain: bool) -> Record:
        """Return the measurement that a condition tests."""
        key = mapping(fields.get("key"), "the key of a condition")
        if kind_of(key, "the key of a condition") != "MeasurementKey":
            raise wrong("the key of a condition is not a MeasurementKey")
        path, index = texts(key.get("path", []), "the path of a key"), integer(fields.get("index", -1), "index")
        full, bound = self._find(path, text(key.get("name"), "the name of a key"))
        if (bound or self.keys.renamed) and self.within and (index != -1 or not plain):
            # Cirq replaces it by a condition on the key alone.
            raise unsupported("a condition with an index or a bit mask in a CircuitOperation, where Cirq drops them")
        records = self.records.of[full]
        if index != -1 and full in self.records.uncounted:
            raise unsupported("an index into the measurements of a loop, whose number of iterations is unknown")
        if not -len(records) <= index < len(records):
            raise wrong(f"the index {shown(index)} exceeds the measurements of the key {full!r}")
        return records[index]

    def _find(self, path: tuple[str, ...], name: str) -> tuple[str, bool]:
        """Return the key that a name refers to, and whether it belongs to an enclosing circuit."""
        name = self.keys.name(name)
        for length in range(len(self.keys.path), -1, -1):
            full = joined((*self.keys.path[:length], *path), name)
            if full in self.keys.visible:
                return full, True
        full = joined(path, name)
        if full not in self.records.of:
            raise wrong(f"the key {full!r} is tested before it is measured")
        return full, False

    def _value(self, name: str, index: int | None) -> Value:
        *path, last = name.split(":")
        full, _ = self._find(tuple(path), last)
        record = self.records.of[full][-1]
        if index is None:
            return Bits(record[::-1], scalar=len(record) == 1)
        if not -len(record) <= index < len(record):
            raise wrong(f"the key {full!r} has no qubit {shown(index)}")
        return Bits((record[index],), scalar=True)
