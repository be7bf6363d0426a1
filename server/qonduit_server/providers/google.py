# SPDX-License-Identifier: Apache-2.0
"""GOOGLE: Cirq's statevector simulator on this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit_server.errors import DeviceError, ProviderError, RunError
from qonduit_server.hub.circuit import Circuit, Outcome
from qonduit_server.providers.provider import (
    Prepared,
    check_memory,
    describe_simulator,
    helper_check,
    installed_version,
    most_qubits,
    program_seed,
)

if TYPE_CHECKING:
    from qiskit.circuit import Instruction

    from qonduit_server.hub.deferral import Deferred

DEVICE: Final = "cirq_simulator"
#: complex64, with a buffer of the same size, and the probabilities samples are drawn from.
_BYTES_PER_AMPLITUDE: Final = 40
_FIXED_BYTES: Final = 512 * 1024**2
#: Gates of up to this many qubits that Cirq has no name for are handed over as matrices.
_MATRIX_QUBITS: Final = 3
_KEY: Final = "m"

_BASIS: Final = (
    "id", "x", "y", "z", "h", "s", "sdg", "t", "tdg", "sx", "sxdg", "p", "rx", "ry", "rz", "r", "u", "u1", "u2", "u3",
    "cx", "cy", "cz", "ch", "cp", "cu", "cu1", "cu3", "crx", "cry", "crz", "cs", "csdg", "csx",
    "swap", "iswap", "ecr", "rxx", "ryy", "rzz", "rzx", "ccx", "ccz", "cswap", "rccx",
)  # fmt: skip


@dataclass(frozen=True)
class _Native:
    """A program as Cirq has it; no circuit where nothing random is measured."""

    circuit: Any
    deferred: Deferred


class Google:
    """Cirq's simulator."""

    name = "GOOGLE"

    def __init__(self) -> None:
        self._cirq: Any = None
        self._named: dict[str, Callable[..., Any]] = {}
        self._classes: frozenset[type] = frozenset()
        self._versions: dict[str, object] = {}

    def describe(self) -> ProviderDescription:
        cirq = installed_version("cirq-core")
        missing = "" if cirq else 'install "qonduit[google]"'
        return describe_simulator(
            self.name,
            DEVICE,
            num_qubits=most_qubits(_BYTES_PER_AMPLITUDE, _FIXED_BYTES),
            basis_gates=_BASIS,
            missing=missing,
            status=f"cirq-core {cirq}",
        )

    def load(self) -> None:
        if self._cirq is not None:
            return
        try:
            import cirq
            from qiskit.circuit.library import UnitaryGate, standard_gates
        except ImportError as error:
            raise ProviderError("SDK_MISSING", f'{error}: install "qonduit[google]"') from error
        classes = [each for each in vars(standard_gates).values() if isinstance(each, type)]
        self._classes = frozenset([*classes, UnitaryGate])
        self._named = _named_gates(cirq)
        self._versions = {"sdk": "cirq-core", "sdk_version": cirq.__version__, "method": "statevector"}
        self._cirq = cirq

    def _is_native(self, operation: Instruction) -> bool:
        return operation.base_class in self._classes and 1 <= operation.num_qubits <= _MATRIX_QUBITS

    def prepare(self, circuit: Circuit, device: str, memory_limit_bytes: int) -> Prepared:
        if device != DEVICE:
            raise DeviceError("UNKNOWN_DEVICE", f"GOOGLE has no device {device}; it has {DEVICE}")
        quantum = circuit.quantum
        check_memory(quantum.num_qubits, _BYTES_PER_AMPLITUDE, memory_limit_bytes)
        self.load()
        from qonduit_server.hub.deferral import defer
        from qonduit_server.hub.lowering import Lowering

        where = f"GOOGLE/{DEVICE}"
        check = helper_check(where, _BYTES_PER_AMPLITUDE, memory_limit_bytes)
        deferred = defer(quantum, Lowering(where, self._is_native), where, check)
        qubits = max(quantum.num_qubits, deferred.qubits)
        need = check_memory(qubits, _BYTES_PER_AMPLITUDE, memory_limit_bytes)
        if not deferred.measured:
            return Prepared(_Native(None, deferred), qubits, need)
        cirq = self._cirq
        line = cirq.LineQubit.range(deferred.qubits)
        operations = [self._operation(gate, [line[place] for place in places]) for gate, places in deferred.gates]
        native = cirq.Circuit(operations)
        native.append(cirq.measure(*(line[place] for place in deferred.measured), key=_KEY))
        return Prepared(_Native(native, deferred), qubits, need)

    def _operation(self, gate: Instruction, qubits: list[Any]) -> Any:
        named = self._named.get(gate.name)
        if named is not None:
            return named(*(float(each) for each in gate.params)).on(*qubits)
        # Qiskit's matrices count the first qubit as the lowest, Cirq's as the highest.
        return self._cirq.MatrixGate(gate.to_matrix()).on(*reversed(qubits))

    def run(
        self, device: str, prepared: Sequence[Prepared], shots: int, seed: int | None
    ) -> Iterator[Outcome | RunError]:
        self.load()
        for place, each in enumerate(prepared):
            native = each.native
            assert isinstance(native, _Native)
            if native.circuit is None:
                outcome = native.deferred.outcome(0)
                yield Outcome({outcome: shots}, {**self._versions, "method": "none: nothing random is measured"})
                continue
            yield self._simulate(native, shots, program_seed(seed, place))

    def _simulate(self, native: _Native, shots: int, seed: int | None) -> Outcome:
        import numpy as np

        began = time.perf_counter()
        simulator = self._cirq.Simulator(seed=None if seed is None else np.random.RandomState(_legacy_seed(seed)))
        measured = simulator.run(native.circuit, repetitions=shots).measurements[_KEY]
        rows = np.packbits(measured.astype(np.uint8), axis=1, bitorder="little")
        unique, numbers = np.unique(rows, axis=0, return_counts=True)
        samples = {
            int.from_bytes(row.tobytes(), "little"): number
            for row, number in zip(unique, numbers.tolist(), strict=True)
        }
        meta: dict[str, object] = {
            **self._versions,
            "run_seconds": time.perf_counter() - began,
            "qubits": native.deferred.qubits,
            "helper_qubits": native.deferred.helpers,
        }
        if seed is not None:
            meta["seed"] = seed
        return Outcome(native.deferred.outcomes(samples), meta)


def _legacy_seed(seed: int) -> list[int]:
    """RandomState takes words of 32 bits."""
    return [seed & 0xFFFFFFFF, seed >> 32]


def _named_gates(cirq: Any) -> dict[str, Callable[..., Any]]:
    """Gates for which Cirq has code of its own, faster than a matrix."""
    fixed = {
        "x": cirq.X, "y": cirq.Y, "z": cirq.Z, "h": cirq.H, "s": cirq.S, "t": cirq.T, "sdg": cirq.S**-1,
        "tdg": cirq.T**-1, "id": cirq.I, "cx": cirq.CNOT, "cz": cirq.CZ, "swap": cirq.SWAP, "iswap": cirq.ISWAP,
        "ccx": cirq.CCX, "ccz": cirq.CCZ, "cswap": cirq.CSWAP,
    }  # fmt: skip
    turned: dict[str, Callable[..., Any]] = {
        "rx": cirq.rx,
        "ry": cirq.ry,
        "rz": cirq.rz,
        "p": lambda angle: cirq.ZPowGate(exponent=angle / math.pi),
        "cp": lambda angle: cirq.CZPowGate(exponent=angle / math.pi),
        "rxx": lambda angle: cirq.XXPowGate(exponent=angle / math.pi, global_shift=-0.5),
        "ryy": lambda angle: cirq.YYPowGate(exponent=angle / math.pi, global_shift=-0.5),
        "rzz": lambda angle: cirq.ZZPowGate(exponent=angle / math.pi, global_shift=-0.5),
    }
    return {**{name: lambda gate=gate: gate for name, gate in fixed.items()}, **turned}
