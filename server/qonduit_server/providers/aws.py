# SPDX-License-Identifier: Apache-2.0
"""AWS: Amazon Braket's statevector simulator on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
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

DEVICE: Final = "local_simulator"
#: complex128; a gate makes a second copy, sampling adds probabilities and their sums.
_BYTES_PER_AMPLITUDE: Final = 48
_FIXED_BYTES: Final = 512 * 1024**2

#: Hub gate -> Braket's name. The modifier `ctrl @` is never written: this simulator gets some gates with it wrong.
_NAMES: Final = {
    "id": "i", "x": "x", "y": "y", "z": "z", "h": "h", "s": "s", "sdg": "si", "t": "t", "tdg": "ti",
    "sx": "v", "sxdg": "vi", "rx": "rx", "ry": "ry", "rz": "rz", "p": "phaseshift", "u1": "phaseshift",
    "u": "U", "u3": "U", "cx": "cnot", "cy": "cy", "cz": "cz", "csx": "cv", "cp": "cphaseshift", "cu1": "cphaseshift",
    "swap": "swap", "iswap": "iswap", "ecr": "ecr", "rxx": "xx", "ryy": "yy", "rzz": "zz",
    "ccx": "ccnot", "cswap": "cswap",
}  # fmt: skip


@dataclass(frozen=True)
class _Native:
    """A program as Braket's simulator keeps it once it is parsed."""

    circuit: Any
    deferred: Deferred


class AWS:
    """Braket's local simulator."""

    name = "AWS"

    def __init__(self) -> None:
        self._simulator: Any = None
        self._program: Any = None
        self._classes: frozenset[type] = frozenset()
        self._versions: dict[str, object] = {}

    def describe(self) -> ProviderDescription:
        braket = installed_version("amazon-braket-default-simulator")
        missing = "" if braket and installed_version("amazon-braket-sdk") else 'install "qonduit[aws]"'
        return describe_simulator(
            self.name,
            DEVICE,
            num_qubits=most_qubits(_BYTES_PER_AMPLITUDE, _FIXED_BYTES),
            basis_gates=sorted(_NAMES),
            missing=missing,
            status=f"amazon-braket-default-simulator {braket}, engine braket_sv",
        )

    def load(self) -> None:
        if self._simulator is not None:
            return
        try:
            from braket.default_simulator.state_vector_simulator import StateVectorSimulator
            from braket.ir.openqasm import Program
            from qiskit.circuit.library import standard_gates
        except ImportError as error:
            raise ProviderError("SDK_MISSING", f'{error}: install "qonduit[aws]"') from error
        self._classes = frozenset(each for each in vars(standard_gates).values() if isinstance(each, type))
        self._versions = {
            "sdk": "amazon-braket-sdk",
            "sdk_version": installed_version("amazon-braket-sdk"),
            "simulator_version": installed_version("amazon-braket-default-simulator"),
            "method": "braket_sv",
        }
        self._program = Program
        self._simulator = StateVectorSimulator()

    def _is_native(self, operation: Instruction) -> bool:
        # By name and by class: a program may define a gate of its own under the name of one that Braket has.
        return operation.name in _NAMES and operation.base_class in self._classes

    def prepare(self, circuit: Circuit, device: str, memory_limit_bytes: int) -> Prepared:
        if device != DEVICE:
            raise DeviceError("UNKNOWN_DEVICE", f"AWS has no device {device}; it has {DEVICE}")
        quantum = circuit.quantum
        check_memory(quantum.num_qubits, _BYTES_PER_AMPLITUDE, memory_limit_bytes)
        self.load()
        from qonduit_server.hub.deferral import defer
        from qonduit_server.hub.lowering import Lowering

        where = f"AWS/{DEVICE}"
        check = helper_check(where, _BYTES_PER_AMPLITUDE, memory_limit_bytes)
        deferred = defer(quantum, Lowering(where, self._is_native), where, check)
        qubits = max(quantum.num_qubits, deferred.qubits)
        need = check_memory(qubits, _BYTES_PER_AMPLITUDE, memory_limit_bytes)
        if not deferred.measured:
            return Prepared(_Native(None, deferred), qubits, need)
        text = "\n".join(("OPENQASM 3.0;", f"qubit[{deferred.qubits}] q;", *(_line(*step) for step in deferred.gates)))
        context = self._simulator.parse_program(self._program(source=text))
        return Prepared(_Native(context.circuit, deferred), qubits, need)

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
        deferred = native.deferred
        simulation = self._simulator.initialize_simulation(qubit_count=deferred.qubits, shots=shots, batch_size=1)
        simulation.evolve(native.circuit.instructions)
        # The simulator's own sampling takes no seed; this is the same, from a generator of ours.
        sums = np.cumsum(simulation.probabilities)
        draws = np.random.default_rng(seed).random(size=shots) * sums[-1]
        states, numbers = np.unique(np.searchsorted(sums, draws, side="right"), return_counts=True)
        samples: dict[int, int] = {}
        shifts = [deferred.qubits - 1 - qubit for qubit in deferred.measured]
        for state, number in zip(states.tolist(), numbers.tolist(), strict=True):
            sample = sum((state >> shift & 1) << place for place, shift in enumerate(shifts))
            samples[sample] = samples.get(sample, 0) + number
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
    return f"{_NAMES[gate.name]}{parameters} {', '.join(f'q[{qubit}]' for qubit in qubits)};"
