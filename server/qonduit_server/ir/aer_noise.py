# SPDX-License-Identifier: Apache-2.0
"""Noise models of Qiskit Aer: the JSON of NoiseModel.to_dict(serializable=True), read without Aer.

As in Aer, errors act on compiled gates. An error for exactly the qubits of a gate, in this order, replaces the one for
all qubits; several errors for the same qubits act one after another.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from qiskit import transpile
from qiskit.circuit import CircuitInstruction, ControlFlowOp, QuantumCircuit
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.exceptions import QiskitError
from qiskit.quantum_info import Operator

from qonduit_server.errors import ProgramError
from qonduit_server.ir import noise
from qonduit_server.ir.circuit import Circuit
from qonduit_server.ir.limits import MAX_OPERATIONS, too_large
from qonduit_server.ir.noise import Channel, ReadoutError

_PATH: Final = "noise_model.aer_json"
#: Aer's basis for models that name no other gates; cx only where a model has no error of an entangling gate.
_BASIS: Final = ("id", "rz", "sx")
_ENTANGLING: Final = frozenset(("cx", "cz", "ecr", "cy", "ch", "iswap", "rzz", "rxx", "ryy", "rzx", "cp", "csx"))
#: Aer's own tolerance of sums of probabilities is 1e-8 as well.
_TOLERANCE: Final = 1e-8

Operators = list[NDArray[np.complex128]]


@dataclass
class _Model:
    """A model, read. The key () of the inner mappings stands for all qubits."""

    gates: dict[str, dict[tuple[int, ...], list[Channel]]] = field(default_factory=dict)
    readouts: dict[tuple[int, ...], ReadoutError] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def with_aer_noise(circuit: Circuit, text: str, optimization_level: int = 1) -> Circuit:
    """Return a circuit, compiled to the basis gates of a noise model, with the model's errors as operations.

    Raises:
        ProgramError: reason INVALID_NOISE, with the path in the JSON; or TOO_LARGE.
    """
    model = _read(text)
    applied = _Pass(model)
    compiled = compile_to_basis(circuit.quantum, basis_gates(text), optimization_level)
    quantum = applied.apply(compiled, tuple(range(compiled.num_qubits)))
    return replace(circuit, quantum=quantum, warnings=(*circuit.warnings, *model.warnings))


def basis_gates(text: str) -> list[str]:
    """Return the gates that programs are compiled to under a noise model."""
    named = set(_read(text).gates) & set(get_standard_gate_name_mapping()) - {"measure", "reset", "delay"}
    return sorted({*_BASIS, *named, *(() if named & _ENTANGLING else ("cx",))})


def compile_to_basis(quantum: QuantumCircuit, basis: Sequence[str], optimization_level: int) -> QuantumCircuit:
    """Return a circuit that has gates of a basis only, on the same qubits and bits."""
    if noise.has_noise(quantum):
        raise _invalid("", "a program with noise operations of its own cannot have a noise model of Aer")
    try:
        return transpile(quantum, basis_gates=list(basis), optimization_level=optimization_level, seed_transpiler=0)
    except QiskitError as error:
        raise _invalid("", f"the program cannot be compiled to {', '.join(basis)}: {error.message}") from error


class _Pass:
    def __init__(self, model: _Model) -> None:
        self._model = model
        self._count = 0

    def apply(self, block: QuantumCircuit, numbers: tuple[int, ...]) -> QuantumCircuit:
        """Return a block with errors; `numbers` are the program's qubits that its own are."""
        noisy = block.copy_empty_like()
        for instruction in block.data:
            operation = instruction.operation
            own = tuple([numbers[block.find_bit(qubit).index] for qubit in instruction.qubits])
            if isinstance(operation, ControlFlowOp):
                operation = operation.replace_blocks([self.apply(inner, own) for inner in operation.blocks])
                noisy._append(CircuitInstruction(operation, instruction.qubits, instruction.clbits))
                continue
            errors = [] if operation.name == "barrier" else self._errors(operation, own)
            self._count += 1 + len(errors)
            if self._count > MAX_OPERATIONS:
                raise too_large(f"with its noise the program has more than {MAX_OPERATIONS} operations")
            if operation.name != "measure":
                noisy._append(instruction)
            for channel in errors:
                qubits = instruction.qubits[: channel.num_qubits]
                noisy._append(CircuitInstruction(channel, qubits, ()))
            if operation.name == "measure":  # errors of measurements act before them
                noisy._append(instruction)
                readout = self._model.readouts.get(own, self._model.readouts.get(()))
                if readout is not None:
                    noisy._append(CircuitInstruction(readout, (), instruction.clbits))
        return noisy

    def _errors(self, operation: Any, qubits: tuple[int, ...]) -> list[Channel]:
        label = getattr(operation, "label", None)
        found = self._model.gates.get(label or "") or self._model.gates.get(operation.name) or {}
        errors = found.get(qubits, found.get((), []))
        for channel in errors:
            if channel.num_qubits > len(qubits):
                raise _invalid(
                    "", f"an error on {channel.num_qubits} qubits for {operation.name}, which has {len(qubits)}"
                )
        return errors


def _invalid(path: str, message: str) -> ProgramError:
    return ProgramError("INVALID_NOISE", f"{_PATH}{path}: {message}")


@lru_cache(maxsize=4)
def _read(text: str) -> _Model:
    """Read the JSON. The last few models are kept: reading that of a large device takes a second."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _invalid("", f"must be JSON: {error}") from error
    _keys(data, "", {"errors"})
    model = _Model()
    for place, entry in enumerate(_list(data["errors"], ".errors")):
        path = f".errors[{place}]"
        kind = entry.get("type") if isinstance(entry, dict) else None
        if kind == "qerror":
            _quantum_error(model, entry, path)
        elif kind == "roerror":
            _readout_error(model, entry, path)
        else:
            raise _invalid(f"{path}.type", f'must be "qerror" or "roerror", got {kind!r}')
    return model


def _quantum_error(model: _Model, error: dict[str, Any], path: str) -> None:
    _keys(error, path, {"type", "operations", "instructions", "probabilities"}, {"id", "gate_qubits"})
    circuits = _list(error["instructions"], f"{path}.instructions")
    probabilities = _probabilities(error["probabilities"], f"{path}.probabilities")
    if len(circuits) != len(probabilities):
        raise _invalid(path, f"{len(circuits)} instructions, but {len(probabilities)} probabilities")
    parts = [_circuit(each, f"{path}.instructions[{k}]") for k, each in enumerate(circuits)]
    channel = _channel(parts, probabilities, path)
    for k, name in enumerate(_list(error["operations"], f"{path}.operations")):
        if not isinstance(name, str):
            raise _invalid(f"{path}.operations[{k}]", "must be the name of a gate")
        for qubits in _gate_qubits(error, path):
            if qubits and len(qubits) < channel.num_qubits:
                raise _invalid(f"{path}.gate_qubits", f"the error acts on {channel.num_qubits} qubits")
            model.gates.setdefault(name, {}).setdefault(qubits, []).append(channel)


def _readout_error(model: _Model, error: dict[str, Any], path: str) -> None:
    _keys(error, path, {"type", "operations", "probabilities"}, {"id", "gate_qubits"})
    rows = [
        _probabilities(row, f"{path}.probabilities[{k}]")
        for k, row in enumerate(_list(error["probabilities"], f"{path}.probabilities"))
    ]
    size = len(rows)
    if size < 2 or size & (size - 1) or any(len(row) != size for row in rows):
        raise _invalid(f"{path}.probabilities", "must be a square matrix whose size is a power of 2")
    for qubits in _gate_qubits(error, path):
        if size != 1 << max(1, len(qubits)):
            raise _invalid(f"{path}.probabilities", f"{size} rows for {max(1, len(qubits))} qubits")
        if size > 2:
            model.warnings.append(
                f"{_PATH}{path}: readout errors of several qubits together are ignored, as Aer does: "
                "programs measure qubits one by one"
            )
        else:
            model.readouts[qubits] = ReadoutError(min(1.0, rows[0][1]), min(1.0, rows[1][0]))


def _gate_qubits(error: dict[str, Any], path: str) -> list[tuple[int, ...]]:
    if "gate_qubits" not in error:
        return [()]
    found = []
    for k, qubits in enumerate(_list(error["gate_qubits"], f"{path}.gate_qubits")):
        found.append(_qubits(qubits, f"{path}.gate_qubits[{k}]", 4096))
    return found


def _circuit(steps: Any, path: str) -> list[tuple[Operators, tuple[int, ...], str]]:
    """Return the steps of one circuit of an error: Kraus operators, qubits, and the Pauli string where it is one."""
    found = []
    for k, step in enumerate(_list(steps, path)):
        own = f"{path}[{k}]"
        _keys(step, own, {"name", "qubits"}, {"params", "label"})
        qubits = _qubits(step["qubits"], f"{own}.qubits", noise.MAX_CHANNEL_QUBITS)
        operators, pauli = _operators(step["name"], step.get("params", []), own)
        if any(each.shape != (1 << len(qubits),) * 2 for each in operators):
            raise _invalid(own, f"{step['name']} does not fit {len(qubits)} qubits")
        found.append((operators, qubits, pauli))
    return found


def _operators(name: Any, params: Any, path: str) -> tuple[Operators, str]:
    if name == "kraus":
        matrices = [_matrix(each, f"{path}.params[{k}]") for k, each in enumerate(_list(params, f"{path}.params"))]
        return _named(path, lambda: list(noise.kraus(matrices).kraus)), ""
    if name == "unitary" and isinstance(params, list) and len(params) == 1:
        matrix = _matrix(params[0], f"{path}.params[0]")
        return _named(path, lambda: list(noise.kraus([matrix]).kraus)), ""
    if name == "pauli" and isinstance(params, list) and len(params) == 1 and isinstance(params[0], str):
        (label,) = params
        if not 1 <= len(label) <= noise.MAX_CHANNEL_QUBITS or not set(label) <= set("IXYZ"):
            raise _invalid(f"{path}.params[0]", f"must be a Pauli string, got {label[:16]!r}")
        return [noise.pauli_matrix(label)], label
    if name == "reset" and not params:
        return [np.array([[1, 0], [0, 0]], dtype=complex), np.array([[0, 1], [0, 0]], dtype=complex)], ""
    gate = get_standard_gate_name_mapping().get(name) if isinstance(name, str) else None
    if gate is None or gate.name in ("measure", "delay", "reset"):
        raise _invalid(f"{path}.name", f"unknown instruction {str(name)[:32]!r}")
    if len(gate.params) != len(params) or not all(isinstance(each, int | float) for each in params):
        raise _invalid(f"{path}.params", f"{name} has {len(gate.params)} numbers")
    pauli = {"id": "I", "x": "X", "y": "Y", "z": "Z"}.get(name, "")
    return [Operator(gate.base_class(*params) if params else gate).data], pauli


def _channel(
    parts: list[list[tuple[Operators, tuple[int, ...], str]]], probabilities: Sequence[float], path: str
) -> Channel:
    """Return the mixture of circuits as one channel; of Pauli strings, if each circuit is one."""
    size = max((1 + qubit for part in parts for step in part for qubit in step[1]), default=1)
    if size > noise.MAX_CHANNEL_QUBITS:
        raise _invalid(path, f"an error acts on at most {noise.MAX_CHANNEL_QUBITS} qubits, got {size}")
    if all(len(part) == 1 and part[0][2] for part in parts):
        paulis: dict[str, float] = {"I" * size: 0.0}
        for ((_, qubits, label),), probability in zip(parts, probabilities, strict=True):
            letters = ["I"] * size
            for place, qubit in enumerate(qubits):
                letters[size - 1 - qubit] = label[len(label) - 1 - place]
            whole = "".join(letters)
            paulis[whole] = paulis.get(whole, 0.0) + probability
        total = math.fsum(paulis.values())
        return Channel(size, paulis={label: each / total for label, each in paulis.items()}, kind="pauli")
    kraus: Operators = []
    for part, probability in zip(parts, probabilities, strict=True):
        operators: Operators = [math.sqrt(probability) * np.eye(1 << size, dtype=complex)]
        for step, qubits, _ in part:
            wide = [_widened(each, qubits, size) for each in step]
            operators = _reduced([after @ before for after in wide for before in operators])
        kraus = _reduced([*kraus, *operators])
    channel: Channel = _named(path, lambda: noise.kraus(kraus))
    return channel


def _widened(matrix: NDArray[np.complex128], qubits: tuple[int, ...], size: int) -> NDArray[np.complex128]:
    whole = Operator(np.eye(1 << size)).compose(Operator(matrix), qargs=list(qubits))
    return np.asarray(whole.data, dtype=np.complex128)


def _reduced(operators: Operators) -> Operators:
    """Return at most 4^n Kraus operators of the same channel."""
    side = len(operators[0])
    operators = [each for each in operators if np.any(each)]
    if len(operators) <= side * side:
        return operators
    columns = np.array([each.ravel() for each in operators]).T
    left, values, _ = np.linalg.svd(columns, full_matrices=False)
    kept = [k for k, value in enumerate(values) if value > 1e-12]
    return [(values[k] * left[:, k]).reshape(side, side) for k in kept]


def _named(path: str, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except ProgramError as error:
        raise _invalid(path, error.message) from error


def _matrix(rows: Any, path: str) -> NDArray[np.complex128]:
    """Return a matrix of [real, imaginary] pairs."""
    try:
        pairs = np.asarray(rows, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise _invalid(path, "must be a matrix of pairs [real, imaginary]") from error
    if pairs.ndim != 3 or pairs.shape[0] != pairs.shape[1] or pairs.shape[2] != 2:
        raise _invalid(path, "must be a square matrix of pairs [real, imaginary]")
    return np.asarray(pairs[..., 0] + 1j * pairs[..., 1])


def _probabilities(values: Any, path: str) -> list[float]:
    numbers = _list(values, path)
    if not all(type(each) in (int, float) and -_TOLERANCE <= each <= 1 + _TOLERANCE for each in numbers):
        raise _invalid(path, "must be numbers between 0 and 1")
    if abs(math.fsum(numbers) - 1) > _TOLERANCE:
        raise _invalid(path, f"must add up to 1, got {math.fsum(numbers):g}")
    return [max(0.0, float(each)) for each in numbers]


def _qubits(values: Any, path: str, limit: int) -> tuple[int, ...]:
    numbers = _list(values, path)
    if not numbers or len(set(map(str, numbers))) != len(numbers):
        raise _invalid(path, "must be different qubits")
    if not all(type(each) is int and 0 <= each < limit for each in numbers):
        raise _invalid(path, f"must be qubits from 0 to {limit - 1}")
    return tuple(numbers)


def _list(values: Any, path: str) -> list[Any]:
    if not isinstance(values, list):
        raise _invalid(path, "must be a list")
    return values


def _keys(value: Any, path: str, needed: set[str], allowed: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    if not isinstance(value, dict):
        raise _invalid(path, "must be an object")
    for key in sorted(needed - value.keys()):
        raise _invalid(path, f"has no {key!r}")
    for key in sorted(value.keys() - needed - allowed):
        raise _invalid(f"{path}.{key[:32]}", f"unknown; known are {', '.join(sorted(needed | allowed))}")
