# SPDX-License-Identifier: Apache-2.0
"""The fields of Cirq's CircuitOperation, a nested circuit."""

from __future__ import annotations

from qonduit_server.languages.cirq.classical_controls import texts
from qonduit_server.languages.cirq.gate_parts import kind_of
from qonduit_server.languages.cirq.qubit_ids import Qubit, qubit
from qonduit_server.languages.cirq.symbols import name_of
from qonduit_server.languages.json_text import Node, mapping, sequence, text, wrong


def qubit_map(fields: Node) -> dict[Qubit, Qubit]:
    """Return the map of the circuit's qubits to those of the enclosing circuit."""
    moved: dict[Qubit, Qubit] = {}
    for pair in sequence(fields.get("qubit_map") or [], "qubit_map"):
        ends = sequence(pair, "a pair of qubit_map")
        if len(ends) != 2:
            raise wrong("qubit_map contains an entry that is not a pair of qubits")
        moved[qubit(ends[0])] = qubit(ends[1])
    return moved


def key_map(fields: Node) -> dict[str, str]:
    """Return the names of the circuit's keys in the enclosing circuit."""
    names = mapping(fields.get("measurement_key_map") or {}, "measurement_key_map")
    renamed = {key: text(name, "a measurement key") for key, name in names.items()}
    if any(":" in name for name in renamed.values()):
        raise wrong("measurement_key_map maps to a key with a colon, which separates the parts of a path")
    return renamed


def parameters(fields: Node) -> dict[str, object]:
    """Return the values of the circuit's symbols."""
    resolver = fields.get("param_resolver")
    if resolver is None:
        return {}
    if kind_of(resolver, "param_resolver") != "ParamResolver":
        raise wrong("param_resolver is no ParamResolver")
    given: dict[str, object] = {}
    for pair in sequence(mapping(resolver, "param_resolver").get("param_dict"), "param_dict"):
        ends = sequence(pair, "a pair of param_dict")
        if len(ends) != 2:
            raise wrong("param_dict contains an entry that is not a pair")
        given[ends[0] if isinstance(ends[0], str) else name_of(ends[0])] = ends[1]
    return given


def repetition_ids(fields: Node, repetitions: int) -> list[tuple[str, ...]]:
    """Return the path component of each repetition's keys."""
    given = fields.get("repetition_ids")
    ids = None if not given else texts(given, "repetition_ids")
    if ids is not None and len(ids) != repetitions:
        raise wrong(f"there are {len(ids)} repetition_ids for {repetitions} repetitions")
    if fields.get("use_repetition_ids", True) is False or (ids is None and repetitions == 1):
        return [()] * repetitions
    return [(each,) for each in ids or [str(k) for k in range(repetitions)]]
