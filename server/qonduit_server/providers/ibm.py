# SPDX-License-Identifier: Apache-2.0
"""IBM: Qiskit Aer's simulator on this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.device_pb2 import Device, DeviceCapabilities
from qonduit.v1.job_pb2 import JobType
from qonduit.v1.provider_pb2 import AssemblerLanguage, Provider, ProviderAssemblerLanguage
from qonduit_server.circuit import Circuit, Outcome
from qonduit_server.errors import DeviceError, ProviderError, RunError
from qonduit_server.providers.lowering import Lowering
from qonduit_server.providers.provider import Prepared, check_memory, installed_version, most_qubits, program_seed

if TYPE_CHECKING:
    from qiskit.circuit import Instruction, QuantumCircuit

DEVICE: Final = "aer_simulator"
#: complex128, one copy; the rest of the process was measured to stay below this.
_BYTES_PER_AMPLITUDE: Final = 16
_FIXED_BYTES: Final = 512 * 1024**2
#: From here on a circuit is given all cores; below, waiting for threads costs more than they bring.
_THREADED_QUBITS: Final = 14
#: A call of the SDK with many circuits is cut so that progress is told about this often.
_CHUNK_SECONDS: Final = 0.1

_BASIS: Final = (
    "x", "y", "z", "h", "s", "sdg", "t", "tdg", "sx", "sxdg", "id", "p", "r", "rx", "ry", "rz", "u", "u1", "u2", "u3",
    "cx", "cy", "cz", "cp", "cu", "cu1", "cu3", "csx", "crx", "cry", "crz", "swap", "ecr",
    "rxx", "ryy", "rzz", "rzx", "ccx", "ccz", "cswap", "mcx", "mcphase", "unitary",
)  # fmt: skip


_NATIVE: Final = frozenset((*_BASIS, "measure", "reset", "barrier", "delay"))


class IBM:
    """Aer's statevector simulator."""

    name = "IBM"

    def __init__(self) -> None:
        self._backend: Any = None
        self._classes: frozenset[type] = frozenset()
        self._versions: dict[str, object] = {}

    def describe(self) -> ProviderDescription:
        aer = installed_version("qiskit-aer")
        missing = "" if aer else 'install "qonduit[ibm]"'
        return ProviderDescription(
            provider=Provider(
                name=self.name,
                supported_languages=[
                    ProviderAssemblerLanguage(supported_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2),
                    ProviderAssemblerLanguage(supported_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3),
                ],
            ),
            devices=[
                Device(
                    name=DEVICE,
                    num_qubits=most_qubits(_BYTES_PER_AMPLITUDE, _FIXED_BYTES),
                    is_simulator=True,
                    is_local=True,
                    available=not missing,
                    status_message=missing or f"qiskit-aer {aer}",
                    max_shots=10_000_000,
                    capabilities=DeviceCapabilities(
                        mid_circuit_measurement=True,
                        reset=True,
                        conditionals=True,
                        job_types=[JobType.JOB_TYPE_RUNNER],
                    ),
                    basis_gates=_BASIS,
                )
            ],
            unavailable=missing,
        )

    def load(self) -> None:
        if self._backend is not None:
            return
        try:
            import qiskit
            from qiskit.circuit import Barrier, Delay, Measure, QuantumCircuit, Reset
            from qiskit.circuit.library import UnitaryGate, standard_gates
            from qiskit_aer import AerSimulator
        except ImportError as error:
            raise ProviderError("SDK_MISSING", f'{error}: install "qonduit[ibm]"') from error
        classes = [each for each in vars(standard_gates).values() if isinstance(each, type)]
        self._classes = frozenset([*classes, UnitaryGate, Measure, Reset, Barrier, Delay])
        self._versions = {
            "sdk": "qiskit-aer",
            "sdk_version": installed_version("qiskit-aer"),
            "qiskit": qiskit.__version__,
        }
        backend = AerSimulator(method="statevector", max_parallel_threads=1)
        # The first run builds what later ones reuse; one thread, so that forking afterwards is safe.
        bell = QuantumCircuit(1, 1)
        bell.h(0)
        bell.measure(0, 0)
        backend.run([bell], shots=1).result()
        self._backend = backend

    def prepare(self, circuit: Circuit, device: str, memory_limit_bytes: int) -> Prepared:
        if device != DEVICE:
            raise DeviceError("UNKNOWN_DEVICE", f"IBM has no device {device}; it has {DEVICE}")
        quantum = circuit.quantum
        need = check_memory(quantum.num_qubits, _BYTES_PER_AMPLITUDE, memory_limit_bytes)
        self.load()
        native, measures = self._compile(quantum, Lowering(f"IBM/{DEVICE}", self._is_native))
        return Prepared(native if measures else None, quantum.num_qubits, need)

    def _is_native(self, operation: Instruction) -> bool:
        # By name and by class: a program may define a gate of its own under the name of one that Aer has.
        return operation.name in _NATIVE and operation.base_class in self._classes

    def _compile(self, quantum: QuantumCircuit, lowering: Lowering) -> tuple[QuantumCircuit, bool]:
        """Replace what Aer has not; a circuit that needs nothing replaced stays as it is. Tells whether it measures."""
        from qiskit.circuit import ControlFlowOp

        measures, clean = False, True
        for instruction in quantum.data:
            operation = instruction.operation
            measures = measures or bool(instruction.clbits)
            if not self._is_native(operation):
                clean = False
        if clean:
            return quantum, measures
        lowered = quantum.copy_empty_like()
        for instruction in quantum.data:
            operation = instruction.operation
            if isinstance(operation, ControlFlowOp):
                blocks = [self._compile(block, lowering)[0] for block in operation.blocks]
                lowered.append(operation.replace_blocks(blocks), instruction.qubits, instruction.clbits, copy=False)
            elif self._is_native(operation) or operation.name == "store":
                lowered._append(instruction)
            else:
                for step, places in lowering.expand(operation):
                    lowered.append(step, [instruction.qubits[place] for place in places], copy=False)
        return lowered, measures

    def run(
        self, device: str, prepared: Sequence[Prepared], shots: int, seed: int | None
    ) -> Iterator[Outcome | RunError]:
        self.load()
        start, size = 0, 16
        while start < len(prepared):
            large = prepared[start].qubits >= _THREADED_QUBITS
            end = start + 1
            if not large:
                while end < min(start + size, len(prepared)) and prepared[end].qubits < _THREADED_QUBITS:
                    end += 1
            began = time.perf_counter()
            yield from self._call(prepared[start:end], shots, program_seed(seed, start), large)
            seconds = time.perf_counter() - began
            size = max(2, min(512, int((end - start) * _CHUNK_SECONDS / max(seconds, 1e-4))))
            start = end

    def _call(
        self, prepared: Sequence[Prepared], shots: int, seed: int | None, large: bool
    ) -> Iterator[Outcome | RunError]:
        circuits = [each.native for each in prepared]
        some = [each for each in circuits if each is not None]
        options: dict[str, object] = {"shots": shots}
        if seed is not None:
            options["seed_simulator"] = seed
        if large:
            options["max_parallel_threads"] = 0
        elif len(some) >= 8 and (cores := len(os.sched_getaffinity(0))) > 1:
            options["max_parallel_threads"] = cores
            options["max_parallel_experiments"] = cores
        began = time.perf_counter()
        results: Iterator[Any] = iter(())
        if some:
            answer = self._backend.run(some, **options).result()
            results = iter(answer.results)
        seconds = (time.perf_counter() - began) / max(1, len(some))
        for each, circuit in zip(prepared, circuits, strict=True):
            if circuit is None:
                yield Outcome({0: shots}, {**self._versions, "method": "none: nothing is measured"})
                continue
            result = next(results)
            if not result.success:
                yield _failure(str(result.status))
                continue
            yield Outcome(
                {int(key, 16): number for key, number in result.data.counts.items()},
                {
                    **self._versions,
                    "method": "statevector",
                    "seed": result.seed_simulator,
                    "run_seconds": seconds,
                    "qubits": each.qubits,
                },
            )


def _failure(status: str) -> RunError:
    return ProviderError("SIMULATION_FAILED", f"Aer could not run it: {status}", retryable=False)
