# SPDX-License-Identifier: Apache-2.0
"""IBM: Qiskit Aer's simulator on this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit_client.distribution import with_extras
from qonduit_server.errors import DeviceError, LimitError, ProviderError, RunError
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.ir.lowering import Lowering, standard_gate_classes
from qonduit_server.providers.provider import (
    DEFAULTS,
    MOST_EXACT_BITS,
    CompiledCircuit,
    CompileOptions,
    check_memory,
    describe_simulator,
    installed_version,
    most_qubits,
    program_seed,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from qiskit.circuit import Clbit, Instruction, QuantumCircuit, Qubit

    from qonduit_server.ir.deferral import Deferred

DEVICE: Final = "aer_simulator"
#: complex128, one copy; by measurement, the rest of the process stays below this.
_BYTES_PER_AMPLITUDE: Final = 16
#: With the array that holds the returned state. Measured with its transfer to the server: 127.9 bytes an amplitude, of
#: 144.
_STATE_BYTES_PER_AMPLITUDE: Final = 32
#: From this many qubits a circuit uses all cores; below, thread synchronization costs more than it saves.
_THREADED_QUBITS: Final = 14
#: Up to this many measured qubits, shots are drawn from probabilities computed once: Aer's own sampling costs more than
#: the simulation of a small circuit.
_EXACT_BITS: Final = 10
#: A circuit that branches is simulated once for each shot, or once in total with up to this many helper qubits.
_MOST_HELPERS: Final = 6
#: Interval between progress reports, in seconds: calls of the SDK with many circuits are split accordingly.
_CHUNK_SECONDS: Final = 0.1
#: Parts of Aer's messages when it runs out of memory.
_OUT_OF_MEMORY: Final = ("allocate memory", "bad_alloc", "nsufficient memory")

_BASIS: Final = (
    "x", "y", "z", "h", "s", "sdg", "t", "tdg", "sx", "sxdg", "id", "p", "r", "rx", "ry", "rz", "u", "u1", "u2", "u3",
    "cx", "cy", "cz", "cp", "cu", "cu1", "cu3", "csx", "crx", "cry", "crz", "swap", "ecr",
    "rxx", "ryy", "rzz", "rzx", "ccx", "ccz", "cswap", "mcx", "mcphase", "unitary",
)  # fmt: skip


_NATIVE: Final = frozenset((*_BASIS, "measure", "reset", "barrier", "delay"))
#: Operations that take no time or are classical.
_NO_OPERATIONS: Final = frozenset(("barrier", "delay", "store", "break_loop", "continue_loop"))


@dataclass(frozen=True)
class _Native:
    """A program in Aer's form; without a circuit where no outcome is random.

    With `deferred` the circuit holds the gates only. `exact`: the circuit returns the probabilities of the measured
    qubits, from which shots are drawn.
    """

    circuit: QuantumCircuit | None
    deferred: Deferred | None = None
    exact: bool = False


class IBM:
    """Aer's statevector simulator."""

    name = "IBM"

    def __init__(self) -> None:
        self._backend: Any = None
        self._classes: frozenset[type] = frozenset()
        self._versions: dict[str, object] = {}

    def describe(self) -> ProviderDescription:
        """Describe the provider and its devices; see `Provider`."""
        aer = installed_version("qiskit-aer")
        missing = "" if aer else f"install {with_extras('ibm')}"
        return describe_simulator(
            self.name,
            DEVICE,
            num_qubits=most_qubits(_BYTES_PER_AMPLITUDE),
            basis_gates=_BASIS,
            missing=missing,
            status=f"qiskit-aer {aer}",
        )

    def load(self) -> None:
        """Import the SDK; see `Provider`."""
        if self._backend is not None:
            return
        # Waiting threads that spin take cores from other workers. The library reads this when it is loaded.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        try:
            import qiskit
            from qiskit.circuit import Barrier, Delay, Measure, Reset
            from qiskit.circuit.library import UnitaryGate
            from qiskit_aer import AerSimulator
            from qiskit_aer.library import SaveProbabilities, SaveStatevector  # noqa: F401 - loaded once, for all workers

            from qonduit_server.ir import deferral  # noqa: F401 - likewise
            from qonduit_server.providers import sampling  # noqa: F401 - likewise
        except ImportError as error:
            raise ProviderError("SDK_MISSING", f"{error}: install {with_extras('ibm')}") from error
        self._classes = standard_gate_classes() | {UnitaryGate, Measure, Reset, Barrier, Delay}
        self._versions = {
            "sdk": "qiskit-aer",
            "sdk_version": installed_version("qiskit-aer"),
            "qiskit": qiskit.__version__,
        }
        # Do not run a circuit here: Aer (up to 0.17) keeps a thread for its runs, and workers forked after that hang.
        self._backend = AerSimulator(method="statevector", max_parallel_threads=1)

    def compile(self, circuit: Circuit, device: str, options: CompileOptions = DEFAULTS) -> CompiledCircuit:
        """Compile a circuit for Aer."""
        compiled = self._compile(circuit, device, options.memory_limit_bytes)
        if not options.statevector:
            return compiled
        from qonduit_server.providers.exact_states import with_statevector

        qubits = circuit.quantum.num_qubits
        evolution = self._evolution(circuit)
        return with_statevector(compiled, evolution, qubits, _STATE_BYTES_PER_AMPLITUDE, options.memory_limit_bytes)

    def _evolution(self, circuit: Circuit) -> QuantumCircuit:
        """Return a circuit of the gates that then saves its state."""
        from qiskit.circuit import CircuitInstruction, QuantumCircuit
        from qiskit_aer.library import SaveStatevector

        from qonduit_server.ir.unitary import unitary_part

        native = QuantumCircuit(circuit.quantum.num_qubits)
        qubits = native.qubits
        lowering = Lowering(f"IBM/{DEVICE}", self._is_native)
        for gate, places in unitary_part(circuit, lowering):
            native._append(CircuitInstruction(gate, [qubits[place] for place in places]))
        native.global_phase = lowering.phase
        native.append(SaveStatevector(len(qubits)), qubits)
        return native

    def statevector(self, device: str, compiled: CompiledCircuit) -> NDArray[np.complex128]:
        """Return the exact state of a circuit; see `Provider`."""
        self.load()
        import numpy as np

        evolution = compiled.evolution
        if not evolution.qubits:  # Aer returns no state of 0 qubits
            return np.ones(1, dtype=np.complex128)
        (result,) = self._simulate([evolution.native], 1, None, evolution.qubits >= _THREADED_QUBITS)
        if not result.success:
            raise _failure(str(result.status))
        return np.asarray(result.data.statevector)

    def _compile(self, circuit: Circuit, device: str, memory_limit_bytes: int) -> CompiledCircuit:
        if device != DEVICE:
            raise DeviceError("UNKNOWN_DEVICE", f"IBM has no device {device}; it has {DEVICE}")
        quantum = circuit.quantum
        need = check_memory(quantum.num_qubits, _BYTES_PER_AMPLITUDE, memory_limit_bytes)
        self.load()
        lowering = Lowering(f"IBM/{DEVICE}", self._is_native)
        deferred = self._defer(quantum, lowering, memory_limit_bytes)
        if deferred is None:
            native, measures = self._lower(quantum, lowering)
            return CompiledCircuit(
                _Native(native if measures else None),
                quantum.num_qubits,
                need,
                circuits=int(measures),
                operations=partial(_operations, native),
            )
        qubits = max(quantum.num_qubits, deferred.qubits)
        need = check_memory(qubits, _BYTES_PER_AMPLITUDE, memory_limit_bytes)
        return CompiledCircuit(
            self._deferred_native(deferred),
            qubits,
            need,
            circuits=int(bool(deferred.measured)),
            operations=deferred.operations,
        )

    def _defer(self, quantum: QuantumCircuit, lowering: Lowering, memory_limit_bytes: int) -> Deferred | None:
        """Return the circuit with its measurements at the end if that is faster, else None."""
        from qiskit.circuit import ControlFlowOp

        measurements, flow = 0, False
        for instruction in quantum.data:
            operation = instruction.operation
            if operation.name == "measure":
                measurements += 1
            elif operation.name in ("reset", "store") or isinstance(operation, ControlFlowOp):
                flow = True
        if not flow and not 1 <= measurements <= _EXACT_BITS:
            return None
        return _deferred(quantum, lowering, memory_limit_bytes)

    def _deferred_native(self, deferred: Deferred, most_bits: int = _EXACT_BITS) -> _Native:
        from qiskit.circuit import CircuitInstruction, QuantumCircuit
        from qiskit_aer.library import SaveProbabilities

        measured = deferred.measured
        if not measured:
            return _Native(None, deferred)
        exact = len(measured) <= most_bits
        native = QuantumCircuit(deferred.qubits, 0 if exact else len(measured))
        qubits = native.qubits
        for gate, places in deferred.gates:
            native._append(CircuitInstruction(gate, [qubits[place] for place in places]))
        if exact:
            native.append(SaveProbabilities(len(measured)), measured)
        else:
            native.measure(measured, range(len(measured)))
        return _Native(native, deferred, exact)

    def probabilities(self, device: str, compiled: CompiledCircuit) -> Mapping[int, float] | None:
        """Return the exact distribution of a circuit's outcomes; see `Provider`."""
        self.load()
        from qonduit_server.providers.sampling import as_mapping

        native = _native(compiled)
        deferred = native.deferred
        if native.circuit is None:
            return {deferred.outcome(0) if deferred else 0: 1.0}
        if deferred is None:
            deferred = _deferred(native.circuit, Lowering(f"IBM/{DEVICE}", self._is_native), 0)
        if deferred is None or len(deferred.measured) > MOST_EXACT_BITS:
            return None
        if not native.exact:
            native = self._deferred_native(deferred, MOST_EXACT_BITS)
        (result,) = self._simulate([native.circuit], 1, None, deferred.qubits >= _THREADED_QUBITS)
        if not result.success:
            raise _failure(str(result.status))
        return deferred.outcomes(as_mapping(result.data.probabilities))

    def _is_native(self, operation: Instruction) -> bool:
        # By name and class: a program may define its own gate under the name of one that Aer has.
        return operation.name in _NATIVE and operation.base_class in self._classes

    def _lower(self, quantum: QuantumCircuit, lowering: Lowering) -> tuple[QuantumCircuit, bool]:
        """Lower operations that Aer lacks; return the circuit, unchanged if there are none, and whether it measures."""
        measures, clean = False, True
        for instruction in quantum.data:
            operation = instruction.operation
            measures = measures or bool(instruction.clbits)
            if not self._is_native(operation):
                clean = False
        if clean:
            return quantum, measures
        lowered = quantum.copy_empty_like()
        self._append_all(lowered, quantum, quantum.qubits, quantum.clbits, lowering)
        return lowered, measures

    def _append_all(
        self,
        target: QuantumCircuit,
        block: QuantumCircuit,
        qubits: Sequence[Qubit],
        clbits: Sequence[Clbit],
        lowering: Lowering,
    ) -> None:
        """Append a block's lowered operations on the given qubits and bits of the target.

        Blocks of control flow get all qubits: Aer (0.18) inlines them between marks, in an order that only shared
        qubits preserve.
        """
        from qiskit.circuit import CircuitInstruction, ControlFlowOp, QuantumCircuit

        find = block.find_bit
        for instruction in block.data:
            operation = instruction.operation
            on = [qubits[find(qubit).index] for qubit in instruction.qubits]
            bits = [clbits[find(clbit).index] for clbit in instruction.clbits]
            if isinstance(operation, ControlFlowOp):
                blocks = []
                for inner in operation.blocks:
                    wide = QuantumCircuit(target.qubits, bits)
                    self._append_all(wide, inner, on, bits, lowering)
                    blocks.append(wide)
                target.append(operation.replace_blocks(blocks), target.qubits, bits, copy=False)
            elif self._is_native(operation) or operation.name == "store":
                target._append(CircuitInstruction(operation, on, bits))
            else:
                for step, places in lowering.expand(operation):
                    target.append(step, [on[place] for place in places], copy=False)

    def run(
        self, device: str, compiled: Sequence[CompiledCircuit], shots: int, seed: int | None
    ) -> Iterator[Outcome | RunError]:
        """Run compiled circuits; see `Provider`."""
        self.load()
        start, size, sampled = 0, 16, 0
        while start < len(compiled):
            large = compiled[start].qubits >= _THREADED_QUBITS
            end = start + 1
            if not large:
                while end < min(start + size, len(compiled)) and compiled[end].qubits < _THREADED_QUBITS:
                    end += 1
            began = time.perf_counter()
            natives = [_native(each) for each in compiled[start:end]]
            seeds = [program_seed(seed, place) for place in range(start, end)]
            # Aer seeds the circuits of one call in sequence: continue where the previous call ended.
            yield from self._call(natives, shots, seeds, program_seed(seed, sampled), large)
            sampled += sum(each.circuit is not None and not each.exact for each in natives)
            seconds = time.perf_counter() - began
            size = max(2, min(512, int((end - start) * _CHUNK_SECONDS / max(seconds, 1e-4))))
            start = end

    def _call(
        self, natives: Sequence[_Native], shots: int, seeds: Sequence[int | None], seed: int | None, large: bool
    ) -> Iterator[Outcome | RunError]:
        import numpy as np

        from qonduit_server.providers.sampling import draw

        began = time.perf_counter()
        exact = self._simulate([each.circuit for each in natives if each.exact], 1, None, large)
        sampled = self._simulate(
            [each.circuit for each in natives if each.circuit is not None and not each.exact], shots, seed, large
        )
        seconds = (time.perf_counter() - began) / len(natives)
        for native, own_seed in zip(natives, seeds, strict=True):
            if native.circuit is None:
                outcome = native.deferred.outcome(0) if native.deferred else 0
                yield Outcome({outcome: shots}, {**self._versions, "method": "none: nothing random is measured"})
                continue
            result = next(exact if native.exact else sampled)
            if not result.success:
                yield _failure(str(result.status))
                continue
            if native.exact:
                own_seed = int.from_bytes(os.urandom(4)) if own_seed is None else own_seed
                counts: Mapping[int, int] = draw(result.data.probabilities, shots, np.random.default_rng(own_seed))
            else:
                own_seed = result.seed_simulator
                counts = {int(key, 16): number for key, number in result.data.counts.items()}
            helpers = 0
            if native.deferred is not None:
                counts = native.deferred.outcomes(counts)
                helpers = native.deferred.helpers
            yield Outcome(
                counts,
                {
                    **self._versions,
                    "method": "statevector",
                    "seed": own_seed,
                    "run_seconds": seconds,
                    "qubits": native.circuit.num_qubits,
                    "helper_qubits": helpers,
                },
            )

    def _simulate(
        self, circuits: list[QuantumCircuit | None], shots: int, seed: int | None, large: bool
    ) -> Iterator[Any]:
        """Call the SDK once; yield a result for each circuit."""
        if not circuits:
            return iter(())
        options: dict[str, object] = {"shots": shots}
        if seed is not None:
            options["seed_simulator"] = seed
        if any(_has_blocks(circuit) for circuit in circuits if circuit is not None):
            # Aer (0.18) removes the end of a loop behind the last measurement, and then cannot jump to it.
            options["enable_truncation"] = False
        if large:
            options["max_parallel_threads"] = 0
        elif shots > 1 and len(circuits) >= 8 and (cores := len(os.sched_getaffinity(0))) > 1:
            options["max_parallel_threads"] = cores
            options["max_parallel_experiments"] = cores
        done = self._backend.run(circuits, **options).result()
        if len(done.results) == len(circuits):
            return iter(done.results)
        if len(circuits) == 1:
            return iter((SimpleNamespace(success=False, status=done.status),))
        # Aer rejects all circuits of a call if it cannot load one of them.
        return (result for circuit in circuits for result in self._simulate([circuit], shots, seed, large))


def _has_blocks(circuit: QuantumCircuit) -> bool:
    kinds = circuit.count_ops()
    return "while_loop" in kinds or "if_else" in kinds


def _native(compiled: CompiledCircuit) -> _Native:
    assert isinstance(compiled.native, _Native)
    return compiled.native


def _operations(circuit: QuantumCircuit) -> Iterator[Sequence[int] | None]:
    """Yield the qubits of each operation, as `CompiledCircuit.operations` does."""
    from qiskit.circuit import IfElseOp

    find = circuit.find_bit
    for instruction in circuit.data:
        operation = instruction.operation
        blocks = getattr(operation, "blocks", None)
        if blocks is not None:
            for block in blocks:  # these have all of the circuit's qubits
                yield None
                yield from _operations(block)
            if not isinstance(operation, IfElseOp):
                yield None
        elif operation.name not in _NO_OPERATIONS:
            yield [find(qubit).index for qubit in instruction.qubits]


def _deferred(quantum: QuantumCircuit, lowering: Lowering, memory_limit_bytes: int) -> Deferred | None:
    """Return the circuit with its measurements at the end; None if that fails or takes too many helper qubits."""
    from qonduit_server.ir.deferral import defer

    def check(qubits: int, helpers: int) -> None:
        check_memory(qubits, _BYTES_PER_AMPLITUDE, memory_limit_bytes)
        if helpers > _MOST_HELPERS:
            raise LimitError("TOO_LARGE", "better simulated shot by shot")

    try:
        return defer(quantum, lowering, f"IBM/{DEVICE}", check)
    except (DeviceError, LimitError):
        return None


def _failure(status: str) -> RunError:
    if any(sign in status for sign in _OUT_OF_MEMORY):
        message = "the run needed more memory than one task may use: use fewer qubits or shots"
        return LimitError("MEMORY_LIMIT", message)
    return ProviderError("SIMULATION_FAILED", f"Aer failed to run the circuit: {status}", retryable=False)
