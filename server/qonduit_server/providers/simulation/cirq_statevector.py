# SPDX-License-Identifier: Apache-2.0
"""GOOGLE/cirq_simulator: statevectors with Cirq."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from qonduit_server.ir.lowering import standard_gate_classes
from qonduit_server.providers.simulation.statevector_simulator import DeferredCircuit, StatevectorSimulator

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from qiskit.circuit import Instruction

    from qonduit_server.providers.simulation.group_states import State
    from qonduit_server.providers.simulation.steps import Gate

#: complex64 with a buffer of the same size, then the probabilities that samples are drawn from.
_BYTES_PER_AMPLITUDE: Final = 40
#: The same for a statevector: complex128, a gate's output of the same size, and room for a gate's matrix.
_EVOLUTION_BYTES_PER_AMPLITUDE: Final = 48
#: Gates of up to this many qubits that Cirq does not name are passed as matrices.
_MATRIX_QUBITS: Final = 3
#: Up to this many qubits complex128 costs hardly more, and the rounding errors of impossible outcomes stay smaller.
#: Beyond, a job gets it if it asks for double precision.
_PRECISE_QUBITS: Final = 18

_BASIS: Final = (
    "id", "x", "y", "z", "h", "s", "sdg", "t", "tdg", "sx", "sxdg", "p", "rx", "ry", "rz", "r", "u", "u1", "u2", "u3",
    "cx", "cy", "cz", "ch", "cp", "cu", "cu1", "cu3", "crx", "cry", "crz", "cs", "csdg", "csx",
    "swap", "iswap", "ecr", "rxx", "ryy", "rzz", "rzx", "ccx", "ccz", "cswap", "rccx",
)  # fmt: skip


class CirqStatevector(StatevectorSimulator):
    """Cirq's simulator."""

    name = "GOOGLE"
    device = "cirq_simulator"
    extra = "google"
    distributions: ClassVar[tuple[str, ...]] = ("cirq-core",)
    basis_gates = _BASIS
    run_bytes = _BYTES_PER_AMPLITUDE
    probabilities_bytes = 2 * _BYTES_PER_AMPLITUDE
    statevector_bytes = _EVOLUTION_BYTES_PER_AMPLITUDE
    double_bytes = 2 * _BYTES_PER_AMPLITUDE
    trajectories = True

    def import_sdk(self) -> Mapping[str, object]:
        """Import the SDK; return the metadata that all results carry."""
        import cirq
        from qiskit.circuit.library import UnitaryGate

        self._classes = standard_gate_classes() | {UnitaryGate}
        self._named = _named_gates(cirq)
        self._line = cirq.LineQubit.range(64)
        self._cirq = cirq
        return {"sdk": "cirq-core", "sdk_version": cirq.__version__, "method": "statevector"}

    def is_native(self, operation: Instruction) -> bool:
        """Return whether the SDK has a gate."""
        # Qiskit's multi-controlled phase has no matrix of its own.
        known = operation.base_class in self._classes and hasattr(operation, "__array__")
        return known and 1 <= operation.num_qubits <= _MATRIX_QUBITS

    def lower(self, runs: Sequence[Sequence[Gate]], qubits: int) -> Sequence[Any]:
        """Return the runs of gates in the SDK's form."""
        line = self._line
        return [[self.convert(gate, [line[place] for place in places]) for gate, places in run] for run in runs]

    def convert(self, gate: Instruction, qubits: Sequence[Any]) -> Any:
        """Return one native gate on qubits, in the SDK's form."""
        named = self._named.get(gate.name)
        if named is not None:
            return named(*(float(each) for each in gate.params)).on(*qubits)
        # Qiskit's matrices count the first qubit as the lowest, Cirq's as the highest.
        return self._cirq.MatrixGate(gate.to_matrix()).on(*reversed(qubits))

    def gate(self, gate: Instruction, angles: Sequence[float], places: Sequence[int]) -> Any:
        """Convert one gate; see `StatevectorSimulator`."""
        named = self._named.get(gate.name)
        if named is None:
            return super().gate(gate, angles, places)
        return named(*angles).on(*[self._line[place] for place in places])

    def evolve(self, state: State, run: Any, qubits: int) -> State:
        """Return a state after one run of gates."""
        import numpy as np

        cirq = self._cirq
        arguments = cirq.ApplyUnitaryArgs(state, np.empty_like(state), range(qubits))
        # As Cirq's Simulator does for each operation, without its overhead.
        evolved: State = cirq.apply_unitaries(run, self._line[:qubits], arguments)
        return evolved

    def drawn_precision(self, circuit: DeferredCircuit) -> str:
        """Return the precision in which `distribution` computes the probabilities that shots are drawn from."""
        return "double" if circuit.method.double or circuit.deferred.qubits <= _PRECISE_QUBITS else "single"

    def distribution(self, circuit: DeferredCircuit, *, exact: bool) -> NDArray[np.float64]:
        """Return the probabilities of the measured qubits."""
        import numpy as np

        from qonduit_server.providers.simulation.sampling import born_probabilities, marginal

        qubits = circuit.deferred.qubits
        double = exact or self.drawn_precision(circuit) == "double"
        state: State = np.zeros((2,) * qubits, dtype=np.complex128 if double else np.complex64)
        state[(0,) * qubits] = 1.0
        probabilities = born_probabilities(self.evolve(state, circuit.gates, qubits))
        del state
        return marginal(probabilities, qubits, circuit.deferred.measured)


def _named_gates(cirq: Any) -> dict[str, Callable[..., Any]]:
    """Return the gates for which Cirq has dedicated code, faster than a matrix."""
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
