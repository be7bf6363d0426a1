# SPDX-License-Identifier: Apache-2.0
"""Shorten noise models of Qiskit Aer, without a change of what they mean.

Aer writes an error as a list of circuits with probabilities. The error of a two-qubit gate of a real device is a Pauli
error, then relaxation of each qubit: 48 circuits that are all combinations of 16 + 3. As two errors that act one after
another, it is a tenth of the text. Errors that several gates or qubits share are written once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

_KEYS: Final = frozenset(("type", "id", "operations", "instructions", "probabilities", "gate_qubits"))


class _Mixture(NamedTuple):
    """An error: circuits and their probabilities."""

    circuits: Sequence[Any]
    probabilities: Sequence[float]


def to_text(fields: Mapping[str, Any]) -> str:
    """Return the JSON text of an equal noise model, as short as possible; models of an unknown form as they are.

    Args:
        fields: of `NoiseModel.to_dict(serializable=True)`.

    Raises:
        TypeError: a value has no JSON.
    """
    return _text(_shortened(fields))


def _shortened(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    errors = fields.get("errors")
    if not isinstance(errors, list) or not all(isinstance(each, dict) for each in errors):
        return fields
    quantum = [each for each in errors if each.get("type") == "qerror"]
    others = [
        {key: value for key, value in each.items() if key != "id"} for each in errors if each.get("type") != "qerror"
    ]
    if not all(_is_plain(each) for each in quantum):
        return fields
    return {**fields, "errors": [*_merged(quantum), *others]}


def _is_plain(error: Mapping[str, Any]) -> bool:
    circuits, probabilities = error.get("instructions"), error.get("probabilities")
    operations, qubits = error.get("operations"), error.get("gate_qubits", [])
    return (
        error.keys() <= _KEYS
        and isinstance(circuits, list)
        and all(isinstance(each, list) for each in circuits)
        and isinstance(probabilities, list)
        and all(isinstance(each, int | float) for each in probabilities)
        and len(circuits) == len(probabilities)
        and isinstance(operations, list)
        and isinstance(qubits, list)
        and all(isinstance(each, list) for each in qubits)
    )


def _merged(errors: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield errors that are written once for all gates and qubits that have the same ones in the same order."""
    texts: dict[str, _Mixture] = {}
    chains: dict[tuple[str, str], list[str]] = {}
    places: dict[str, Any] = {}
    for error in errors:
        parts = _factors(_Mixture(error["instructions"], error["probabilities"]))
        keys = [_text(part) for part in parts]
        texts.update(zip(keys, parts, strict=True))
        for name in error["operations"]:
            places[_text(name)] = name
            for qubits in error.get("gate_qubits", [None]):
                places[_text(qubits)] = qubits
                chains.setdefault((_text(name), _text(qubits)), []).extend(keys)
    names: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for (name, qubits), chain in chains.items():
        names.setdefault((tuple(chain), qubits), []).append(name)
    groups: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for (parts_of, qubits), own in names.items():
        groups.setdefault((parts_of, tuple(own)), []).append(qubits)
    for (parts_of, gates), listed in groups.items():
        for key in parts_of:
            error = {
                "type": "qerror",
                "operations": [places[each] for each in gates],
                "instructions": texts[key].circuits,
                "probabilities": texts[key].probabilities,
            }
            if "null" in listed:
                yield error
            if qubits := [places[each] for each in listed if each != "null"]:
                yield {**error, "gate_qubits": qubits}


def _factors(mixture: _Mixture) -> list[_Mixture]:
    """Return errors that, one after another, are a mixture of circuits: its first steps apart from the rest."""
    circuits, probabilities = mixture
    if len(circuits) < 4 or not all(circuits):
        return [mixture]
    heads = [_text(each[0]) for each in circuits]
    tails = [_text(each[1:]) for each in circuits]
    first = dict.fromkeys(heads, 0.0)
    rest = dict.fromkeys(tails, 0.0)
    if len(first) * len(rest) != len(circuits) or len(set(zip(heads, tails, strict=True))) != len(circuits):
        return [mixture]
    for head, tail, probability in zip(heads, tails, probabilities, strict=True):
        first[head] += probability
        rest[tail] += probability
    if not math.isclose(math.fsum(probabilities), 1, abs_tol=1e-12) or not all(
        math.isclose(probability, first[head] * rest[tail], rel_tol=1e-12, abs_tol=1e-16)
        for head, tail, probability in zip(heads, tails, probabilities, strict=True)
    ):
        return [mixture]
    steps = {head: each[:1] for head, each in zip(heads, circuits, strict=True)}
    others = {tail: each[1:] for tail, each in zip(tails, circuits, strict=True)}
    return [
        _Mixture(list(steps.values()), [first[head] for head in steps]),
        *_factors(_Mixture(list(others.values()), [rest[tail] for tail in others])),
    ]


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    """Return a value of NumPy as JSON has it; some versions of Aer leave such values in a model's dictionary."""
    if isinstance(value, Mapping):
        return dict(value)
    if callable(tolist := getattr(value, "tolist", None)):
        return tolist()
    raise TypeError(f"{type(value).__name__} has no JSON")
