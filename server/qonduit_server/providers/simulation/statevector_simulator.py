# SPDX-License-Identifier: Apache-2.0
"""The base of simulators whose SDK applies gates to a statevector and measures at the end only.

A subclass provides the SDK's gates (`lower`), their application to an array (`evolve`) and the final probabilities
(`distribution`). Deferred measurement, branching, seeded sampling and statevectors are common to all.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.simulation_pb2 import SimulationMethod
from qonduit_client.distribution import with_extras
from qonduit_server.errors import DeviceError, RunError
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.ir.lowering import Lowering
from qonduit_server.providers.point_binding import OneByOne, compiling
from qonduit_server.providers.provider import (
    DEFAULTS,
    MOST_EXACT_BITS,
    CompiledCircuit,
    CompileOptions,
    RunProgress,
    check_memory,
    describe_simulator,
    importing_sdk,
    installed_version,
    most_qubits,
    program_seed,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from qiskit.circuit import Instruction

    from qonduit_server.ir.deferral import Deferred
    from qonduit_server.providers.simulation.branching import Engine
    from qonduit_server.providers.simulation.group_states import State
    from qonduit_server.providers.simulation.run_planning import Method
    from qonduit_server.providers.simulation.steps import Gate

STATEVECTOR: Final = "statevector"
TRAJECTORIES: Final = "trajectories"
#: Memory for one amplitude, in bytes, of trajectories: channels take more than `branching.BYTES_PER_AMPLITUDE`.
#: Measured with 2^20 amplitudes: 128 in Braket's engine, 112 in Cirq's.
TRAJECTORY_BYTES: Final = 136


@dataclass(frozen=True)
class DeferredCircuit:
    """A circuit with its measurements at the end; `gates` is in the SDK's form, empty where no outcome is random."""

    gates: Any
    deferred: Deferred
    method: Method


class StatevectorSimulator(OneByOne, ABC):
    """A `SimulatorProvider` with one device, based on an SDK's gates."""

    name: ClassVar[str]
    device: ClassVar[str]
    #: The extra that installs the SDK, and its distributions; `status` names the first one.
    extra: ClassVar[str]
    distributions: ClassVar[tuple[str, ...]]
    #: Follows the version in `status`.
    status_suffix: ClassVar[str] = ""
    basis_gates: ClassVar[Sequence[str]]
    #: Memory for one amplitude, in bytes: of `run`, of `probabilities` and of `statevector`.
    run_bytes: ClassVar[int]
    probabilities_bytes: ClassVar[int]
    statevector_bytes: ClassVar[int]
    #: Whether circuits with channels run as trajectories.
    trajectories: ClassVar[bool] = False
    #: The precision of amplitudes: "double" or "single".
    floating_point: ClassVar[str] = "double"
    #: Memory for one amplitude, in bytes, of a run for which a job asks for double precision; 0: `run_bytes`.
    double_bytes: ClassVar[int] = 0

    def __init__(self) -> None:
        self._metadata: Mapping[str, object] = {}

    @abstractmethod
    def import_sdk(self) -> Mapping[str, object]:
        """Import the SDK; return the metadata that it adds to every result, its version among them."""

    @abstractmethod
    def is_native(self, operation: Instruction) -> bool:
        """Return whether `lower` accepts an operation."""

    @abstractmethod
    def lower(self, runs: Sequence[Sequence[Gate]], qubits: int) -> Sequence[Any]:
        """Convert runs of native gates to the SDK's form."""

    def gate(self, gate: Instruction, angles: Sequence[float], places: Sequence[int]) -> Any:
        """Convert one native gate to the SDK's form.

        Args:
            gate: the gate.
            angles: in place of its parameters.
            places: its qubits.
        """
        own = gate.to_mutable()
        own.params = list(angles)
        ((found,),) = self.lower([[(own, tuple(places))]], max(places) + 1)
        return found

    @abstractmethod
    def evolve(self, state: State, run: Any, qubits: int) -> State:
        """Apply one of these runs to a state. The given state may be overwritten."""

    @abstractmethod
    def distribution(self, circuit: DeferredCircuit, *, exact: bool) -> NDArray[np.float64]:
        """Return the probabilities of the measured qubits, as `sampling.marginal` does.

        Args:
            circuit: measures at least one qubit.
            exact: whether an accuracy of 1e-9 is needed; otherwise shots are drawn from the probabilities.
        """

    def describe(self) -> ProviderDescription:
        """Describe the one device, without importing the SDK."""
        versions = [installed_version(distribution) for distribution in self.distributions]
        found = describe_simulator(
            self.name,
            self.device,
            num_qubits=most_qubits(self.run_bytes),
            basis_gates=self.basis_gates,
            missing="" if all(versions) else f"install {with_extras(self.extra)}",
            status=f"{self.distributions[0]} {versions[0]}{self.status_suffix}",
        )
        capabilities = found.devices[0].capabilities
        capabilities.methods.extend(self.methods())
        capabilities.noise = any(method.noise for method in capabilities.methods)
        capabilities.floating_point.append(self.floating_point)
        return found

    def methods(self) -> list[SimulationMethod]:
        """Describe the methods, the widest first."""
        found = [described_method(STATEVECTOR, self.run_bytes, "any circuit without noise channels")]
        if self.trajectories:
            found.append(described_method(TRAJECTORIES, TRAJECTORY_BYTES, "any circuit", noise=True))
        return found

    def load(self) -> None:
        """Import the SDK once.

        Raises:
            ProviderError: the SDK is not installed.
        """
        if self._metadata:
            return
        with importing_sdk(self.extra):
            self._metadata = self.import_sdk()

    def compile(self, circuit: Circuit, device: str, options: CompileOptions = DEFAULTS) -> CompiledCircuit:
        """Compile a circuit, with its measurements deferred or as a program that branches."""
        if device != self.device:
            raise DeviceError("UNKNOWN_DEVICE", f"{self.name} has no device {device}; it has {self.device}")
        check_memory(circuit.quantum.num_qubits, self.run_bytes, options.memory_limit_bytes)
        self.load()
        compiled = self.plan(circuit, self._device_name, self._method(circuit, options), options.memory_limit_bytes)
        if not options.statevector:
            return compiled
        from qonduit_server.providers.simulation.exact_states import with_evolution

        engine: Engine = self
        if circuit.parameters:
            from qonduit_server.providers.simulation.gate_templates import TemplateEngine

            engine = TemplateEngine(self)
        lowering = Lowering(self._device_name, self.is_native)
        with compiling(circuit):
            return with_evolution(
                compiled, circuit, lowering, engine, self.statevector_bytes, options.memory_limit_bytes
            )

    def binds(self, device: str) -> bool:
        """Return True; see `SimulatorProvider`."""
        return True

    def bind(
        self, device: str, template: CompiledCircuit, names: Sequence[str], values: NDArray[np.float64]
    ) -> Callable[[int], CompiledCircuit]:
        """Return a function from points to compiled circuits; see `SimulatorProvider`."""
        from qonduit_server.providers.simulation import gate_templates

        return gate_templates.bind(template, self, names, values)

    @property
    def _device_name(self) -> str:
        return f"{self.name}/{self.device}"

    def vectors(self, name: str = "", *, channels: bool = False) -> Method:
        """Return the method that simulates statevectors, with channels as trajectories.

        Args:
            name: in the meta data of results.
            channels: whether circuits may have channels.
        """
        from qonduit_server.providers.simulation.branching import BYTES_PER_AMPLITUDE
        from qonduit_server.providers.simulation.run_planning import Method

        return Method(
            self,
            self.is_native,
            self.run_bytes,
            channels=channels,
            name=name,
            branching_bytes=TRAJECTORY_BYTES if channels else BYTES_PER_AMPLITUDE,
        )

    def _method(self, circuit: Circuit, options: CompileOptions) -> Method:
        """Return the method of a job, or the one for the circuit if the job leaves the choice."""
        from qonduit_server.ir.noise import has_channels

        named = options.simulation.method
        noisy = self.trajectories and has_channels(circuit.quantum)
        if noisy and named == STATEVECTOR:
            raise DeviceError(
                "UNSUPPORTED_METHOD",
                f"the method {STATEVECTOR} of {self._device_name} runs no noise channels: "
                f"leave simulation.method empty, or set it to {TRAJECTORIES}",
            )
        trajectories = noisy or named == TRAJECTORIES
        method = self.vectors(TRAJECTORIES, channels=True) if trajectories else self.vectors()
        return self.precise(method, options)

    def precise(self, method: Method, options: CompileOptions) -> Method:
        """Return a method in the precision that a job asks for."""
        if options.simulation.floating_point != "double":
            return method
        return replace(method, double=True, run_bytes=self.double_bytes or method.run_bytes)

    def drawn_precision(self, circuit: DeferredCircuit) -> str:
        """Return the precision in which `distribution` computes the probabilities that shots are drawn from."""
        return self.floating_point

    def plan(self, circuit: Circuit, device: str, method: Method, memory_limit_bytes: int) -> CompiledCircuit:
        """Compile a circuit for a method of an engine, this one or another.

        Args:
            circuit: the IR circuit.
            device: for messages, "PROVIDER/device".
            method: how states are simulated.
            memory_limit_bytes: what a run may need; 0 means as much as the machine has.
        """
        from qonduit_server.providers.simulation.branching import Branching
        from qonduit_server.providers.simulation.run_planning import plan

        if circuit.parameters:
            from qonduit_server.providers.simulation.gate_templates import TemplateEngine

            method = replace(method, engine=TemplateEngine(method.engine))
        with compiling(circuit):
            found, qubits, need = plan(circuit.quantum, device, method, memory_limit_bytes)
        if isinstance(found, Branching):
            return CompiledCircuit(found, qubits, need, operations=found.operations)
        random = bool(found.bits)
        (gates,) = method.engine.lower([found.gates], found.qubits) if found.measured else ((),)
        native = DeferredCircuit(gates, found, method)
        return CompiledCircuit(native, qubits, need, circuits=int(random), operations=found.operations)

    def run(
        self, device: str, compiled: Sequence[CompiledCircuit], shots: int, seed: int | None
    ) -> Iterator[Outcome | RunError | RunProgress]:
        """Run circuits one after another."""
        self.load()
        from qonduit_server.providers.simulation import branching

        for place, each in enumerate(compiled):
            native: Any = each.native
            own_seed = program_seed(seed, place)
            if not isinstance(native, DeferredCircuit):
                yield from branching.run(native, native.engine, shots, own_seed, self._metadata)
            elif native.deferred.bits:
                yield self._sample(native, shots, own_seed)
            else:
                outcome = native.deferred.outcome(0)
                yield Outcome({outcome: shots}, {**self._metadata, "method": "none: nothing random is measured"})

    def _sample(self, circuit: DeferredCircuit, shots: int, seed: int | None) -> Outcome:
        began = time.perf_counter()
        samples = self.draw(circuit, shots, seed)
        metadata: dict[str, object] = {
            **self._metadata,
            "run_seconds": time.perf_counter() - began,
            "qubits": circuit.deferred.qubits,
            "helper_qubits": circuit.deferred.helpers,
        }
        if circuit.method.name:
            metadata["method"] = circuit.method.name
        engine: Any = circuit.method.engine
        if engine.drawn_precision(circuit) == "single":
            metadata["floating_point"] = "single"
        if seed is not None:
            metadata["seed"] = seed
        return Outcome(circuit.deferred.outcomes(samples), metadata)

    def draw(self, circuit: DeferredCircuit, shots: int, seed: int | None) -> Mapping[int, int]:
        """Draw samples of the recorded bits, counted."""
        import numpy as np

        from qonduit_server.providers.simulation.sampling import draw

        # The SDKs' own sampling takes no seed (Braket) or microseconds a shot (Cirq).
        return draw(_distribution(circuit, exact=False), shots, np.random.default_rng(seed))

    def probabilities(self, device: str, compiled: CompiledCircuit) -> Mapping[int, float] | None:
        """Return the exact distribution of a circuit that does not branch."""
        self.load()
        from qonduit_server.providers.simulation.sampling import as_mapping

        native = compiled.native
        if not isinstance(native, DeferredCircuit) or native.deferred.bits > MOST_EXACT_BITS:
            return None
        deferred = native.deferred
        if not deferred.bits:
            return {deferred.outcome(0): 1.0}
        if native.method.engine is self:
            check_memory(deferred.qubits, self.probabilities_bytes, 0, axes=native.method.kind.axes)
        return deferred.outcomes(as_mapping(_distribution(native, exact=True)))

    def statevector(self, device: str, compiled: CompiledCircuit) -> NDArray[np.complex128]:
        """Return the state before the final measurements."""
        self.load()
        from qonduit_server.providers.simulation.exact_states import evolve

        return evolve(self, compiled.evolution)


def _distribution(circuit: DeferredCircuit, *, exact: bool) -> NDArray[np.float64]:
    """Return the probabilities of the recorded bits."""
    import numpy as np

    deferred = circuit.deferred
    engine: Any = circuit.method.engine
    measured = engine.distribution(circuit, exact=exact) if deferred.measured else np.ones(1)
    return measured if deferred.recording is None else deferred.recording.distribution(measured)


def described_method(
    name: str, run_bytes: int, circuits: str, *, noise: bool = False, axes: int = 1
) -> SimulationMethod:
    """Describe a method by the memory that it takes for one entry of a state, in bytes."""
    qubits = most_qubits(run_bytes, axes)
    return SimulationMethod(
        name=name,
        max_qubits=qubits,
        max_memory_bytes=run_bytes << axes * qubits,
        circuits=circuits,
        exact=True,
        noise=noise,
    )
