# SPDX-License-Identifier: Apache-2.0
"""Shared circuits, which Cirq's JSON stores once and refers to from several places."""

from __future__ import annotations

from typing import Final

from qonduit_server.languages.json_text import Node, integer, sequence, unsupported, wrong

#: The types of circuits.
CIRCUITS: Final = ("Circuit", "FrozenCircuit")


class Shared:
    """Resolves references to circuits that a program stores once and uses several times."""

    def __init__(self) -> None:
        self._kept: dict[int, object] = {}

    def __call__(self, node: Node) -> object:
        """Return the replacement of an object that was just read."""
        kind = node.get("cirq_type")
        if kind in ("VAL", "_SerializedContext"):
            kept = node.get("val" if kind == "VAL" else "obj")
            if not isinstance(kept, dict) or kept.get("cirq_type") not in CIRCUITS:
                raise unsupported("only circuits are shared within a program")
            self._kept[integer(node.get("key"), "key")] = kept
            return kept if kind == "VAL" else node
        if kind in ("REF", "_SerializedKey"):
            key = integer(node.get("key"), "key")
            if key not in self._kept:
                raise wrong(f"the program refers to circuit {key}, which it does not hold")
            return self._kept[key]
        if kind == "_ContextualSerialization":
            return (sequence(node.get("object_dag"), "object_dag") or [None])[-1]
        return node
