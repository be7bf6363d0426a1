# SPDX-License-Identifier: Apache-2.0
"""Reader of noise models of Qiskit Aer: the JSON of NoiseModel.to_dict(serializable=True), read strictly without Aer.

An error is a mixture of circuits. Models of large devices consist of thousands of circuits that repeat few
instructions, so each instruction is read once, and circuits are multiplied as superoperators.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.quantum_info import Operator

from qonduit_server.errors import ProgramError
from qonduit_server.ir import noise
from qonduit_server.ir.noise import Channel, ReadoutError

_PATH: Final = "noise_model.aer_json"
#: Aer's own tolerance of sums of probabilities is 1e-8 as well.
_TOLERANCE: Final = 1e-8
#: Weights of Kraus operators that are rounding, and entries of normalized ones.
_LEAST_WEIGHT: Final = 1e-14
_ROUNDING: Final = 1e-13

#: Channels of more qubits are not joined: their superoperators have 4^n rows.
_JOINED_QUBITS: Final = 2

_Matrix: TypeAlias = NDArray[np.complex128]


@dataclass
class AerModel:
    """A noise model: the channels of gates, and the readout errors. The key () of the inner mappings is all qubits."""

    gates: dict[str, dict[tuple[int, ...], list[Channel]]] = field(default_factory=dict)
    readouts: dict[tuple[int, ...], ReadoutError] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    _joined: dict[tuple[int, ...], list[Channel]] = field(default_factory=dict)

    def errors(self, gate: str, qubits: tuple[int, ...]) -> list[Channel]:
        """Return the channels that act after a gate, one after another.

        Simulating one channel of few qubits is faster than simulating several, so these are joined to one. Mixtures of
        Pauli strings stay such: stabilizer simulators need them.
        """
        found = self.gates.get(gate, {})
        channels = found.get(qubits, found.get((), []))
        if (
            len(channels) < 2
            or max(each.num_qubits for each in channels) > _JOINED_QUBITS
            or all(each.paulis is not None for each in channels)
        ):
            return channels
        key = tuple([id(each) for each in channels])
        if key not in self._joined:
            self._joined[key] = [_joined(channels)]
        return self._joined[key]


def invalid(path: str, message: str) -> ProgramError:
    """Return the error for a part of a model, by its path in the JSON."""
    return ProgramError("INVALID_NOISE", f"{_PATH}{path}: {message}")


class _Step(NamedTuple):
    """An instruction of an error's circuit, on qubits of the error."""

    operators: list[_Matrix]
    qubits: tuple[int, ...]
    #: The Pauli string, if it is one.
    pauli: str


@lru_cache(maxsize=4)
def read_model(text: str) -> AerModel:
    """Read the JSON of a noise model. The last few models are kept.

    Raises:
        ProgramError: reason INVALID_NOISE, with the path in the JSON.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise invalid("", f"must be JSON: {error}") from error
    _keys(data, "", {"errors"})
    return _Reader().read(_list(data["errors"], ".errors"))


class _Reader:
    def __init__(self) -> None:
        self._model = AerModel()
        #: The operators and the Pauli string of each instruction, by its name and parameters.
        self._instructions: dict[tuple[str, str], tuple[list[_Matrix], str]] = {}
        #: The superoperator of each instruction on qubits of an error, by the identity of its operators.
        self._superoperators: dict[tuple[int, tuple[int, ...], int], _Matrix] = {}

    def read(self, entries: Sequence[Any]) -> AerModel:
        for place, entry in enumerate(entries):
            path = f".errors[{place}]"
            kind = entry.get("type") if isinstance(entry, dict) else None
            if kind == "qerror":
                self._quantum_error(entry, path)
            elif kind == "roerror":
                self._readout_error(entry, path)
            else:
                raise invalid(f"{path}.type", f'must be "qerror" or "roerror", got {kind!r}')
        return self._model

    def _quantum_error(self, error: dict[str, Any], path: str) -> None:
        _keys(error, path, {"type", "operations", "instructions", "probabilities"}, {"id", "gate_qubits"})
        circuits = _list(error["instructions"], f"{path}.instructions")
        probabilities = _probabilities(error["probabilities"], f"{path}.probabilities")
        if len(circuits) != len(probabilities):
            raise invalid(path, f"{len(circuits)} instructions, but {len(probabilities)} probabilities")
        parts = [self._circuit(each, f"{path}.instructions[{k}]") for k, each in enumerate(circuits)]
        channel = self._channel(parts, probabilities, path)
        for k, name in enumerate(_list(error["operations"], f"{path}.operations")):
            if not isinstance(name, str):
                raise invalid(f"{path}.operations[{k}]", "must be the name of a gate")
            for qubits in _gate_qubits(error, path):
                if qubits and len(qubits) < channel.num_qubits:
                    raise invalid(f"{path}.gate_qubits", f"the error acts on {channel.num_qubits} qubits")
                self._model.gates.setdefault(name, {}).setdefault(qubits, []).append(channel)

    def _readout_error(self, error: dict[str, Any], path: str) -> None:
        _keys(error, path, {"type", "operations", "probabilities"}, {"id", "gate_qubits"})
        rows = [
            _probabilities(row, f"{path}.probabilities[{k}]")
            for k, row in enumerate(_list(error["probabilities"], f"{path}.probabilities"))
        ]
        size = len(rows)
        if size < 2 or size & (size - 1) or any(len(row) != size for row in rows):
            raise invalid(f"{path}.probabilities", "must be a square matrix whose size is a power of 2")
        for qubits in _gate_qubits(error, path):
            if size != 1 << max(1, len(qubits)):
                raise invalid(f"{path}.probabilities", f"{size} rows for {max(1, len(qubits))} qubits")
            if size > 2:
                self._model.warnings.append(
                    f"{_PATH}{path}: readout errors of several qubits together are ignored, as Aer does: "
                    "programs measure qubits one by one"
                )
            else:
                self._model.readouts[qubits] = ReadoutError(min(1.0, rows[0][1]), min(1.0, rows[1][0]))

    def _circuit(self, steps: Any, path: str) -> list[_Step]:
        """Return the steps of one circuit of an error."""
        found = []
        for k, step in enumerate(_list(steps, path)):
            own = f"{path}[{k}]"
            _keys(step, own, {"name", "qubits"}, {"params", "label"})
            qubits = _qubits(step["qubits"], f"{own}.qubits", noise.MAX_CHANNEL_QUBITS)
            name, params = step["name"], step.get("params", [])
            key = (repr(name), repr(params))
            known = self._instructions.get(key)
            if known is None:
                known = self._instructions[key] = _operators(name, params, own)
            operators, pauli = known
            if any(len(each) != 1 << len(qubits) for each in operators):
                raise invalid(own, f"{name} does not fit {len(qubits)} qubits")
            found.append(_Step(operators, qubits, pauli))
        return found

    def _channel(self, parts: Sequence[Sequence[_Step]], probabilities: Sequence[float], path: str) -> Channel:
        """Return the mixture of circuits as one channel; of Pauli strings, if each circuit is one."""
        size = max((1 + qubit for part in parts for step in part for qubit in step.qubits), default=1)
        if size > noise.MAX_CHANNEL_QUBITS:
            raise invalid(path, f"an error acts on at most {noise.MAX_CHANNEL_QUBITS} qubits, got {size}")
        if all(len(part) == 1 and part[0].pauli for part in parts):
            return _mixture([part[0] for part in parts], probabilities, size)
        if len(parts) == 1 and len(parts[0]) == 1:
            (step,) = parts[0]
            kraus = [_widened(each, step.qubits, size) for each in step.operators]
        else:
            kraus = _kraus(self._mean(parts, probabilities, size), 1 << size)
        channel: Channel = _named(path, lambda: noise.kraus(kraus))
        return channel

    def _mean(self, parts: Sequence[Sequence[_Step]], probabilities: Sequence[float], size: int) -> _Matrix:
        """Return the mixture of circuits as a superoperator."""
        total: _Matrix = np.zeros((4**size, 4**size), dtype=np.complex128)
        for part, probability in zip(parts, probabilities, strict=True):
            product: _Matrix = np.eye(4**size, dtype=np.complex128)
            for step in part:
                product = self._superoperator(step, size) @ product
            total += probability * product
        return total

    def _superoperator(self, step: _Step, size: int) -> _Matrix:
        key = (id(step.operators), step.qubits, size)
        known = self._superoperators.get(key)
        if known is None:
            known = self._superoperators[key] = _superoperator(step.operators, step.qubits, size)
        return known


def _gate_qubits(error: dict[str, Any], path: str) -> list[tuple[int, ...]]:
    if "gate_qubits" not in error:
        return [()]
    return [
        _qubits(qubits, f"{path}.gate_qubits[{k}]", 4096)
        for k, qubits in enumerate(_list(error["gate_qubits"], f"{path}.gate_qubits"))
    ]


def _operators(name: Any, params: Any, path: str) -> tuple[list[_Matrix], str]:
    """Return the Kraus operators of an instruction, and the Pauli string that it is, or ""."""
    if name == "kraus":
        matrices = [_matrix(each, f"{path}.params[{k}]") for k, each in enumerate(_list(params, f"{path}.params"))]
        return _named(path, lambda: list(noise.kraus(matrices).kraus)), ""
    if name == "unitary" and isinstance(params, list) and len(params) == 1:
        matrix = _matrix(params[0], f"{path}.params[0]")
        return _named(path, lambda: list(noise.kraus([matrix]).kraus)), ""
    if name == "pauli" and isinstance(params, list) and len(params) == 1 and isinstance(params[0], str):
        (label,) = params
        if not 1 <= len(label) <= noise.MAX_CHANNEL_QUBITS or not set(label) <= set("IXYZ"):
            raise invalid(f"{path}.params[0]", f"must be a Pauli string, got {label[:16]!r}")
        return [noise.pauli_matrix(label)], label
    if name == "reset" and not params:
        return [np.array([[1, 0], [0, 0]], dtype=complex), np.array([[0, 1], [0, 0]], dtype=complex)], ""
    gate = get_standard_gate_name_mapping().get(name) if isinstance(name, str) else None
    if gate is None or gate.name in ("measure", "delay", "reset"):
        raise invalid(f"{path}.name", f"unknown instruction {str(name)[:32]!r}")
    if len(gate.params) != len(params) or not all(isinstance(each, int | float) for each in params):
        raise invalid(f"{path}.params", f"{name} has {len(gate.params)} numbers")
    pauli = {"id": "I", "x": "X", "y": "Y", "z": "Z"}.get(name, "")
    return [Operator(gate.base_class(*params) if params else gate).data], pauli


def _mixture(steps: Sequence[_Step], probabilities: Sequence[float], size: int) -> Channel:
    paulis: dict[str, float] = {"I" * size: 0.0}
    for step, probability in zip(steps, probabilities, strict=True):
        letters = ["I"] * size
        for place, qubit in enumerate(step.qubits):
            letters[size - 1 - qubit] = step.pauli[len(step.pauli) - 1 - place]
        whole = "".join(letters)
        paulis[whole] = paulis.get(whole, 0.0) + probability
    total = math.fsum(paulis.values())
    return Channel(size, paulis={label: each / total for label, each in paulis.items()}, kind="pauli")


def _widened(matrix: _Matrix, qubits: tuple[int, ...], size: int) -> _Matrix:
    """Return a matrix on qubits as one on all qubits 0 to `size` - 1."""
    # Bit j of an index of the product is qubit order[j]; axis `size` - 1 - j of the tensor is bit j.
    order = [*qubits, *(qubit for qubit in range(size) if qubit not in qubits)]
    tensor = np.kron(np.eye(1 << size - len(qubits)), matrix).reshape((2,) * (2 * size))
    axes = [size - 1 - order.index(qubit) for qubit in reversed(range(size))]
    wide: _Matrix = tensor.transpose([*axes, *(size + axis for axis in axes)]).reshape(1 << size, 1 << size)
    return wide


def _superoperator(operators: Sequence[_Matrix], qubits: tuple[int, ...], size: int) -> _Matrix:
    """Return the superoperator, for all qubits 0 to `size` - 1, of Kraus operators on qubits."""
    wide = [_widened(each, qubits, size) for each in operators]
    return np.asarray(sum(np.kron(each, each.conj()) for each in wide))


def _joined(channels: Sequence[Channel]) -> Channel:
    """Return channels that act one after another as one; each acts on the qubits from 0."""
    size = max(each.num_qubits for each in channels)
    product: _Matrix = np.eye(4**size, dtype=np.complex128)
    for each in channels:
        product = _superoperator(each.kraus, tuple(range(each.num_qubits)), size) @ product
    return noise.kraus(_kraus(product, 1 << size))


def _kraus(superoperator: _Matrix, side: int) -> list[_Matrix]:
    """Return the fewest Kraus operators of a superoperator: eigenvectors of its Choi matrix."""
    choi = superoperator.reshape((side,) * 4).transpose(0, 2, 1, 3).reshape(side * side, side * side)
    weights, vectors = np.linalg.eigh(choi)
    # Aer's fusion of gates loses up to 1e-9 of the trace where entries are rounding instead of 0.
    vectors.real[np.abs(vectors.real) < _ROUNDING] = 0
    vectors.imag[np.abs(vectors.imag) < _ROUNDING] = 0
    kept = [k for k, weight in enumerate(weights) if weight > _LEAST_WEIGHT]
    return [math.sqrt(weights[k]) * vectors[:, k].reshape(side, side) for k in kept]


def _named(path: str, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except ProgramError as error:
        raise invalid(path, error.message) from error


def _matrix(rows: Any, path: str) -> NDArray[np.complex128]:
    """Return a matrix of [real, imaginary] pairs."""
    try:
        pairs = np.asarray(rows, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise invalid(path, "must be a matrix of pairs [real, imaginary]") from error
    if pairs.ndim != 3 or pairs.shape[0] != pairs.shape[1] or pairs.shape[2] != 2:
        raise invalid(path, "must be a square matrix of pairs [real, imaginary]")
    return np.asarray(pairs[..., 0] + 1j * pairs[..., 1])


def _probabilities(values: Any, path: str) -> list[float]:
    numbers = _list(values, path)
    if not all(type(each) in (int, float) and -_TOLERANCE <= each <= 1 + _TOLERANCE for each in numbers):
        raise invalid(path, "must be numbers between 0 and 1")
    if abs(math.fsum(numbers) - 1) > _TOLERANCE:
        raise invalid(path, f"must add up to 1, got {math.fsum(numbers):g}")
    return [max(0.0, float(each)) for each in numbers]


def _qubits(values: Any, path: str, limit: int) -> tuple[int, ...]:
    numbers = _list(values, path)
    if not numbers or len(set(map(str, numbers))) != len(numbers):
        raise invalid(path, "must be different qubits")
    if not all(type(each) is int and 0 <= each < limit for each in numbers):
        raise invalid(path, f"must be qubits from 0 to {limit - 1}")
    return tuple(numbers)


def _list(values: Any, path: str) -> list[Any]:
    if not isinstance(values, list):
        raise invalid(path, "must be a list")
    return values


def _keys(value: Any, path: str, needed: set[str], allowed: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    if not isinstance(value, dict):
        raise invalid(path, "must be an object")
    for key in sorted(needed - value.keys()):
        raise invalid(path, f"has no {key!r}")
    for key in sorted(value.keys() - needed - allowed):
        raise invalid(f"{path}.{key[:32]}", f"unknown; known are {', '.join(sorted(needed | allowed))}")
