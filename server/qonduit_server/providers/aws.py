# SPDX-License-Identifier: Apache-2.0
"""AWS: Amazon Braket's statevector simulator on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit_client.distribution import with_extras
from qonduit_server.errors import DeviceError, ProviderError, RunError
from qonduit_server.ir.braket_names import BRAKET_NAMES
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

DEVICE: Final = "local_simulator"
#: complex128: the state that is given, two that gates are applied between, and room for a gate. Measured: 69 with
#: 2^21 amplitudes, 64 with 2^22, for the simulator takes some memory beside them.
_BYTES_PER_AMPLITUDE: Final = 72


@dataclass(frozen=True)
class _Native:
    """A program as Braket's simulator keeps it once it is parsed; no gates where nothing random is measured."""

    gates: Sequence[Any]
    deferred: Deferred


class AWS:
    """Braket's local simulator."""

    name = "AWS"

    def __init__(self) -> None:
        self._simulator: Any = None
        self._apply: Any = None
        self._program: Any = None
        self._classes: frozenset[type] = frozenset()
        self._versions: dict[str, object] = {}

    def describe(self) -> ProviderDescription:
        braket = installed_version("amazon-braket-default-simulator")
        missing = "" if braket and installed_version("amazon-braket-sdk") else f"install {with_extras('aws')}"
        return describe_simulator(
            self.name,
            DEVICE,
            num_qubits=most_qubits(_BYTES_PER_AMPLITUDE),
            basis_gates=sorted(BRAKET_NAMES),
            missing=missing,
            status=f"amazon-braket-default-simulator {braket}, engine braket_sv",
        )

    def load(self) -> None:
        if self._simulator is not None:
            return
        try:
            from braket.default_simulator.simulation_strategies import single_operation_strategy
            from braket.default_simulator.state_vector_simulator import StateVectorSimulator
            from braket.ir.openqasm import Program
            from qiskit.circuit.library import standard_gates
        except ImportError as error:
            raise ProviderError("SDK_MISSING", f"{error}: install {with_extras('aws')}") from error
        self._classes = frozenset(each for each in vars(standard_gates).values() if isinstance(each, type))
        self._versions = {
            "sdk": "amazon-braket-sdk",
            "sdk_version": installed_version("amazon-braket-sdk"),
            "simulator_version": installed_version("amazon-braket-default-simulator"),
            "method": "braket_sv",
        }
        self._program = Program
        self._apply = single_operation_strategy.apply_operations
        self._simulator = StateVectorSimulator()

    def _is_native(self, operation: Instruction) -> bool:
        # By name and by class: a program may define a gate of its own under the name of one that Braket has.
        return operation.name in BRAKET_NAMES and operation.base_class in self._classes

    def prepare(
        self, circuit: Circuit, device: str, memory_limit_bytes: int, statevector: bool = False
    ) -> CompiledCircuit:
        prepared = self._prepare(circuit, device, memory_limit_bytes)
        if not statevector:
            return prepared
        from qonduit_server.providers.exact_states import with_evolution

        lowering = Lowering(f"AWS/{DEVICE}", self._is_native)
        return with_evolution(prepared, circuit, lowering, self, _BYTES_PER_AMPLITUDE, memory_limit_bytes)

    def _prepare(self, circuit: Circuit, device: str, memory_limit_bytes: int) -> CompiledCircuit:
        if device != DEVICE:
            raise DeviceError("UNKNOWN_DEVICE", f"AWS has no device {device}; it has {DEVICE}")
        quantum = circuit.quantum
        check_memory(quantum.num_qubits, _BYTES_PER_AMPLITUDE, memory_limit_bytes)
        self.load()
        from qonduit_server.providers.branching import Branching
        from qonduit_server.providers.run_planning import plan

        found, qubits, need = plan(
            quantum, f"AWS/{DEVICE}", self._is_native, self, _BYTES_PER_AMPLITUDE, memory_limit_bytes
        )
        if isinstance(found, Branching):
            return CompiledCircuit(found, qubits, need, operations=found.operations)
        (gates,) = self.compile([found.gates], found.qubits) if found.measured else ((),)
        return CompiledCircuit(
            _Native(gates, found), qubits, need, circuits=int(bool(found.measured)), operations=found.operations
        )

    def compile(self, runs: Sequence[Sequence[Gate]], qubits: int) -> Sequence[Any]:
        """Bring runs of gates into the simulator's form, by one parse of them all."""
        lines = [_line(*gate) for run in runs for gate in run]
        if not lines:
            return [()] * len(runs)
        text = "\n".join(("OPENQASM 3.0;", f"qubit[{qubits}] q;", *lines))
        operations = self._simulator.parse_program(self._program(source=text)).circuit.instructions
        if len(operations) != len(lines):
            raise ProviderError("SDK_CHANGED", f"Braket read {len(lines)} gates as {len(operations)} operations")
        ends = list(accumulate(len(run) for run in runs))
        return [operations[end - len(run) : end] for run, end in zip(runs, ends, strict=True)]

    def evolve(self, state: State, run: Any, qubits: int) -> State:
        """Apply one of these runs to a state."""
        evolved: State = self._apply(state, state.ndim, run)
        return evolved

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
        deferred = native.deferred
        if not deferred.measured:
            return {deferred.outcome(0): 1.0}
        return deferred.outcomes(as_mapping(self._distribution(native)))

    def statevector(self, device: str, prepared: CompiledCircuit) -> NDArray[np.complex128]:
        self.load()
        from qonduit_server.providers.exact_states import evolve

        return evolve(self, prepared.evolution)

    def _distribution(self, native: _Native) -> Any:
        """The probabilities of what is measured, as an array."""
        from qonduit_server.providers.sampling import marginal

        qubits = native.deferred.qubits
        simulation = self._simulator.initialize_simulation(qubit_count=qubits, shots=1, batch_size=1)
        simulation.evolve(native.gates)
        probabilities = simulation.probabilities
        del simulation
        return marginal(probabilities, qubits, native.deferred.measured)

    def _simulate(self, native: _Native, shots: int, seed: int | None) -> Outcome:
        import numpy as np

        from qonduit_server.providers.sampling import draw

        began = time.perf_counter()
        deferred = native.deferred
        # The simulator's own sampling takes no seed; this is the same, from a generator of ours.
        samples = draw(self._distribution(native), shots, np.random.default_rng(seed))
        meta: dict[str, object] = {
            **self._versions,
            "run_seconds": time.perf_counter() - began,
            "qubits": deferred.qubits,
            "helper_qubits": deferred.helpers,
        }
        if seed is not None:
            meta["seed"] = seed
        return Outcome(deferred.outcomes(samples), meta)


def _line(gate: Instruction, qubits: tuple[int, ...]) -> str:
    parameters = f"({', '.join(repr(float(each)) for each in gate.params)})" if gate.params else ""
    return f"{BRAKET_NAMES[gate.name]}{parameters} {', '.join(f'q[{qubit}]' for qubit in qubits)};"
