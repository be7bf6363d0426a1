# SPDX-License-Identifier: Apache-2.0
"""The rules of noise models that can be checked without a program: the server refuses a job at once that breaks one.

Pure Python: the server process loads no NumPy and no SDK. Workers check again, with the program at hand.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

from qonduit.v1.noise_pb2 import NoiseChannel, NoiseModel
from qonduit_server.errors import Violation

#: Of one noise model. Aer's model of a device with 156 qubits takes 6.5 MiB as JSON, and 0.8 MiB as the Python client
#: shortens it.
MAX_BYTES: Final = 2 * 1024**2
#: Of the bytes above. JSON of a noise model is nested 8 deep.
_MAX_JSON_DEPTH: Final = 32
_MAX_PAULI_QUBITS: Final = 4
_MAX_KRAUS_QUBITS: Final = 3
_TOLERANCE: Final = 1e-8
#: depolarizing is completely positive up to 4^n/(4^n - 1), which is largest for one qubit.
_MAX_DEPOLARIZING: Final = 4 / 3


def broken(model: NoiseModel, path: str) -> Iterator[Violation]:
    """Yield the violations of the noise model in a field of this path."""
    size = model.ByteSize()
    if size > MAX_BYTES:
        advice = (
            "; the Python client shortens models of Aer, and the devices IBM/fake_... have the noise of IBM's devices"
            if model.aer_json
            else ""
        )
        text = f"{path}: must have at most {MAX_BYTES} bytes, got {size}{advice}"
        yield Violation(path, "noise_model.max_bytes", text)
        return
    for place, error in enumerate(model.gate_errors):
        field = f"{path}.gate_errors[{place}].channel"
        for what in _channel_faults(error.channel):
            yield Violation(field, "noise_model.channel", f"{field}: {what}")
    if model.aer_json:
        field = f"{path}.aer_json"
        for what in _json_faults(model.aer_json):
            yield Violation(field, "noise_model.aer_json", f"{field}: {what}")


def _channel_faults(channel: NoiseChannel) -> Iterator[str]:
    kind = channel.WhichOneof("channel")
    match kind:
        case "depolarizing" | "bit_flip" | "phase_flip" | "amplitude_damping" | "phase_damping":
            most = _MAX_DEPOLARIZING if kind == "depolarizing" else 1.0
            yield from _range(kind, getattr(channel, kind), most)
        case "generalized_amplitude_damping":
            yield from _range("probability", channel.generalized_amplitude_damping.probability)
            yield from _range("excited", channel.generalized_amplitude_damping.excited)
        case "thermal_relaxation":
            times = channel.thermal_relaxation
            if not (times.t1 > 0 and times.t2 > 0 and 0 <= times.duration < math.inf):
                yield (
                    "t1 and t2 must be positive and duration at least 0, "
                    f"got t1 = {times.t1:g}, t2 = {times.t2:g}, duration = {times.duration:g}"
                )
            elif times.t2 > 2 * times.t1 * (1 + 1e-12):
                yield f"t2 must be at most 2 t1, got t1 = {times.t1:g}, t2 = {times.t2:g}"
        case "pauli":
            yield from _pauli_faults(dict(channel.pauli.probabilities))
        case "kraus":
            yield from _kraus_faults([list(operator.entries) for operator in channel.kraus.operators])


def _range(name: str, value: float, most: float = 1.0) -> Iterator[str]:
    if not 0 <= value <= most:
        yield f"{name} must be between 0 and {most:g}, got {value:g}"


def _pauli_faults(probabilities: dict[str, float]) -> Iterator[str]:
    length = len(next(iter(probabilities), ""))
    for label, probability in probabilities.items():
        if not 1 <= len(label) <= _MAX_PAULI_QUBITS or len(label) != length or not set(label) <= set("IXYZ"):
            yield (
                f"Pauli strings must have 1 to {_MAX_PAULI_QUBITS} letters of I, X, Y, Z, all the same number, "
                f"got {label[:16]!r}"
            )
            return
        yield from _range(f"the probability of {label}", probability)
    if math.fsum(probabilities.values()) > 1 + _TOLERANCE:
        yield f"the probabilities must not add up to more than 1, got {math.fsum(probabilities.values()):g}"


def _kraus_faults(operators: Sequence[Sequence[float]]) -> Iterator[str]:
    sizes = {len(entries) for entries in operators}
    qubits = next((n for n in range(1, _MAX_KRAUS_QUBITS + 1) if sizes == {2 * 4**n}), 0)
    if not qubits:
        yield (
            "each Kraus operator must have 2 * 4^n numbers for n qubits, the same n of "
            f"1 to {_MAX_KRAUS_QUBITS} for all, got {sorted(sizes)[:4]}"
        )
        return
    side = 1 << qubits
    total = [[0j] * side for _ in range(side)]
    for entries in operators:
        matrix = [[complex(*entries[2 * (r * side + c) :][:2]) for c in range(side)] for r in range(side)]
        for row in range(side):
            for column in range(side):
                total[row][column] += sum(matrix[k][row].conjugate() * matrix[k][column] for k in range(side))
    for row in range(side):
        for column in range(side):
            # Written so that NaN is refused.
            if not abs(total[row][column] - (row == column)) <= _TOLERANCE:
                yield (
                    "the channel must preserve the trace: the sum of K^dagger K over the Kraus operators must be the "
                    f"identity within {_TOLERANCE:g}, got {total[row][column]:.6g} in row {row}, column {column}"
                )
                return


def _json_faults(text: str) -> Iterator[str]:
    if _deepest(text) > _MAX_JSON_DEPTH:
        yield f"must be nested at most {_MAX_JSON_DEPTH} levels deep"
        return
    try:
        model: Any = json.loads(text)
    except ValueError as error:
        yield f"must be JSON: {error}"
        return
    if not isinstance(model, dict) or not isinstance(model.get("errors"), list):
        yield 'must be the JSON of NoiseModel.to_dict(serializable=True): an object with a list "errors"'
        return
    for place, entry in enumerate(model["errors"]):
        kind = entry.get("type") if isinstance(entry, dict) else None
        if kind not in ("qerror", "roerror"):
            yield f'errors[{place}].type must be "qerror" or "roerror", got {str(kind)[:32]!r}'
            return


def _deepest(text: str) -> int:
    """Return how deep brackets are nested, at least: those in strings count as well."""
    depth = deepest = 0
    for letter in text:
        if letter in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif letter in "]}":
            depth -= 1
    return deepest
