# SPDX-License-Identifier: Apache-2.0
"""GOOGLE: Cirq's statevector simulator on this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit_client.distribution import with_extras
from qonduit_server.errors import DeviceError, ProviderError, RunError
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.ir.lowering import Lowering
from qonduit_server.providers.provider import (
    MOST_EXACT_BITS,
    CompiledCircuit,
    check_memory,
    describe_simulator,
    installed_version,
    most_qubits,
    program_seed,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from qiskit.circuit import Instruction

    from qonduit_server.ir.deferral import Deferred
    from qonduit_server.providers.branching import State
    from qonduit_server.providers.steps import Gate

DEVICE: Final = "cirq_simulator"
#: complex64 with a buffer of the same size, then the probabilities that samples are drawn from.
_BYTES_PER_AMPLITUDE: Final = 40
#: The same for a statevector: complex128, what a gate makes of it, and room for a gate that is a matrix.
_EVOLUTION_BYTES_PER_AMPLITUDE: Final = 48
#: Gates of up to this many qubits that Cirq has no name for are handed over as matrices.
_MATRIX_QUBITS: Final = 3
#: Up to so many qubits complex128 costs hardly more, and what cannot be is farther from being drawn.
_PRECISE_QUBITS: Final = 18

_BASIS: Final = (
    "id", "x", "y", "z", "h", "s", "sdg", "t", "tdg", "sx", "sxdg", "p", "rx", "ry", "rz", "r", "u", "u1", "u2", "u3",
    "cx", "cy", "cz", "ch", "cp", "cu", "cu1", "cu3", "crx", "cry", "crz", "cs", "csdg", "csx",
    "swap", "iswap", "ecr", "rxx", "ryy", "rzz", "rzx", "ccx", "ccz", "cswap", "rccx",
)  # fmt: skip


@dataclass(frozen=True)
class _Native:
    """A program as Cirq has it; no operations where nothing random is measured.

    `precise`: it is run with complex128 amplitudes.
    """

    operations: Sequence[Any]
    deferred: Deferred
    precise: bool


class Google:
    """Cirq's simulator."""

    name = "GOOGLE"

    def __init__(self) -> None:
        self._cirq: Any = None
        self._line: list[Any] = []
        self._named: dict[str, Callable[..., Any]] = {}
        self._classes: frozenset[type] = frozenset()
        self._versions: dict[str, object] = {}

    def describe(self) -> ProviderDescription:
        cirq = installed_version("cirq-core")
        missing = "" if cirq else f"install {with_extras('google')}"
        return describe_simulator(
            self.name,
            DEVICE,
            num_qubits=most_qubits(_BYTES_PER_AMPLITUDE),
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
            raise ProviderError("SDK_MISSING", f"{error}: install {with_extras('google')}") from error
        classes = [each for each in vars(standard_gates).values() if isinstance(each, type)]
        self._classes = frozenset([*classes, UnitaryGate])
        self._named = _named_gates(cirq)
        self._versions = {"sdk": "cirq-core", "sdk_version": cirq.__version__, "method": "statevector"}
        self._line = cirq.LineQubit.range(64)
        self._cirq = cirq

    def _is_native(self, operation: Instruction) -> bool:
        # Qiskit's multi-controlled phase has no matrix of its own.
        known = operation.base_class in self._classes and hasattr(operation, "__array__")
        return known and 1 <= operation.num_qubits <= _MATRIX_QUBITS

    def prepare(
        self, circuit: Circuit, device: str, memory_limit_bytes: int, statevector: bool = False
    ) -> CompiledCircuit:
        prepared = self._prepare(circuit, device, memory_limit_bytes)
        if not statevector:
            return prepared
        from qonduit_server.providers.exact_states import with_evolution

        lowering = Lowering(f"GOOGLE/{DEVICE}", self._is_native)
        return with_evolution(prepared, circuit, lowering, self, _EVOLUTION_BYTES_PER_AMPLITUDE, memory_limit_bytes)

    def _prepare(self, circuit: Circuit, device: str, memory_limit_bytes: int) -> CompiledCircuit:
        if device != DEVICE:
            raise DeviceError("UNKNOWN_DEVICE", f"GOOGLE has no device {device}; it has {DEVICE}")
        quantum = circuit.quantum
        check_memory(quantum.num_qubits, _BYTES_PER_AMPLITUDE, memory_limit_bytes)
        self.load()
        from qonduit_server.providers.branching import Branching
        from qonduit_server.providers.run_planning import plan

        found, qubits, need = plan(
            quantum, f"GOOGLE/{DEVICE}", self._is_native, self, _BYTES_PER_AMPLITUDE, memory_limit_bytes
        )
        if isinstance(found, Branching):
            return CompiledCircuit(found, qubits, need, operations=found.operations)
        precise = qubits <= _PRECISE_QUBITS
        (operations,) = self.compile([found.gates], found.qubits) if found.measured else ((),)
        return CompiledCircuit(
            _Native(operations, found, precise),
            qubits,
            need,
            circuits=int(bool(found.measured)),
            operations=found.operations,
        )

    def compile(self, runs: Sequence[Sequence[Gate]], qubits: int) -> Sequence[Any]:
        """Bring runs of gates into Cirq's form."""
        line = self._line
        return [[self._operation(gate, [line[place] for place in places]) for gate, places in run] for run in runs]

    def evolve(self, state: State, run: Any, qubits: int) -> State:
        """Apply one of these runs to a state."""
        import numpy as np

        cirq = self._cirq
        arguments = cirq.ApplyUnitaryArgs(state, np.empty_like(state), range(qubits))
        # What its Simulator does for each operation, without what that does around it.
        evolved: State = cirq.apply_unitaries(run, self._line[:qubits], arguments)
        return evolved

    def _operation(self, gate: Instruction, qubits: list[Any]) -> Any:
        named = self._named.get(gate.name)
        if named is not None:
            return named(*(float(each) for each in gate.params)).on(*qubits)
        # Qiskit's matrices count the first qubit as the lowest, Cirq's as the highest.
        return self._cirq.MatrixGate(gate.to_matrix()).on(*reversed(qubits))

    def run(
        self, device: str, prepared: Sequence[CompiledCircuit], shots: int, seed: int | None
    ) -> Iterator[Outcome | RunError]:
        self.load()
        for place, each in enumerate(prepared):
            native = each.native
            own_seed = program_seed(seed, place)
            if not isinstance(native, _Native):
                yield self._branch(native, shots, own_seed)
            elif native.deferred.measured:
                yield self._simulate(native, shots, own_seed)
            else:
                outcome = native.deferred.outcome(0)
                yield Outcome({outcome: shots}, {**self._versions, "method": "none: nothing random is measured"})

    def _branch(self, program: Any, shots: int, seed: int | None) -> Outcome | RunError:
        from qonduit_server.providers.branching import run

        return run(program, self, shots, seed, self._versions)

    def probabilities(self, device: str, prepared: CompiledCircuit) -> Mapping[int, float] | None:
        self.load()
        from qonduit_server.providers.sampling import as_mapping

        native = prepared.native
        if not isinstance(native, _Native) or len(native.deferred.measured) > MOST_EXACT_BITS:
            return None
        if not native.deferred.measured:
            return {native.deferred.outcome(0): 1.0}
        check_memory(native.deferred.qubits, 2 * _BYTES_PER_AMPLITUDE, 0)
        return native.deferred.outcomes(as_mapping(self._distribution(native, precise=True)))

    def statevector(self, device: str, prepared: CompiledCircuit) -> NDArray[np.complex128]:
        self.load()
        from qonduit_server.providers.exact_states import evolve

        return evolve(self, prepared.evolution)

    def _distribution(self, native: _Native, precise: bool) -> Any:
        """The probabilities of what is measured, as an array."""
        import numpy as np

        from qonduit_server.providers.sampling import born_probabilities, marginal

        qubits = native.deferred.qubits
        state: State = np.zeros((2,) * qubits, dtype=np.complex128 if precise else np.complex64)
        state[(0,) * qubits] = 1.0
        probabilities = born_probabilities(self.evolve(state, native.operations, qubits))
        del state
        return marginal(probabilities, qubits, native.deferred.measured)

    def _simulate(self, native: _Native, shots: int, seed: int | None) -> Outcome:
        import numpy as np

        from qonduit_server.providers.sampling import draw

        began = time.perf_counter()
        # Cirq's own sampling takes microseconds for each shot.
        samples = draw(self._distribution(native, native.precise), shots, np.random.default_rng(seed))
        meta: dict[str, object] = {
            **self._versions,
            "run_seconds": time.perf_counter() - began,
            "qubits": native.deferred.qubits,
            "helper_qubits": native.deferred.helpers,
        }
        if seed is not None:
            meta["seed"] = seed
        return Outcome(native.deferred.outcomes(samples), meta)


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
