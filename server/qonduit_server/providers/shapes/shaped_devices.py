# SPDX-License-Identifier: Apache-2.0
"""Devices with the shape and the noise of real processors: the common part of all SDKs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from qonduit.execution.v1.worker_pb2 import CalibratedDevice, ProviderDescription
from qonduit.v1.calibration_pb2 import DeviceCalibration
from qonduit.v1.device_pb2 import Device
from qonduit.v1.provider_pb2 import Provider as ProviderMessage
from qonduit.v1.simulation_pb2 import SimulationMethod
from qonduit_client.distribution import with_extras
from qonduit_server.errors import DeviceError, RunError
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.providers.point_binding import OneByOne, compiling
from qonduit_server.providers.provider import (
    DEFAULTS,
    CompiledCircuit,
    CompileOptions,
    Operations,
    RunProgress,
    depth_of,
    importing_sdk,
    installed_version,
    program_seed,
    simulator_device,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Shape(Protocol):
    """The shape of a processor."""

    @property
    def name(self) -> str:
        """The device's name."""

    @property
    def num_qubits(self) -> int:
        """How many qubits it has."""

    @property
    def basis_gates(self) -> Sequence[str]:
        """Its native gates, by their OpenQASM names where they have one."""


@dataclass(frozen=True)
class ShapedCircuit:
    """A compiled circuit.

    Args:
        native: what the SDK runs; None if nothing is measured.
        meta_data: of its results.
    """

    native: Any
    meta_data: Mapping[str, object]


S = TypeVar("S", bound=Shape)


class ShapedDevices(OneByOne, ABC, Generic[S]):
    """A `SimulatorProvider` of devices that compile programs to the gates and the coupling map of a processor.

    A subclass reads the files of the processors, compiles with the SDK's own compiler and runs with their errors.
    """

    name: ClassVar[str]
    #: What describes the processors, and what runs programs; `status` names the first.
    distributions: ClassVar[tuple[str, ...]]
    extra: ClassVar[str] = "shapes"

    def __init__(self) -> None:
        self._metadata: Mapping[str, object] = {}

    @abstractmethod
    def offered(self) -> Iterable[S]:
        """Return the shapes that are listed as devices, without importing the SDK; none if it is not installed."""

    @abstractmethod
    def shape(self, name: str) -> S | None:
        """Return a shape by its name; None if there is no such device."""

    @abstractmethod
    def calibration(self, name: str) -> DeviceCalibration:
        """Return the calibration of a processor; callers must not change it."""

    @abstractmethod
    def methods(self, shape: S) -> list[SimulationMethod]:
        """Describe how a device is simulated, the widest method first."""

    @abstractmethod
    def import_sdk(self) -> Mapping[str, object]:
        """Import the SDK; return the metadata that all results carry."""

    @abstractmethod
    def compile_native(self, circuit: Circuit, shape: S, options: CompileOptions) -> CompiledCircuit:
        """Compile a circuit without noise that is not wider than the device.

        Raises:
            NotSymbolic: the circuit has parameters, and its compilation needs their values.
        """

    @abstractmethod
    def run_native(
        self, natives: Sequence[Any], shots: int, seeds: Sequence[int | None]
    ) -> Iterator[Outcome | RunError | RunProgress]:
        """Run circuits in the form that `compile_native` gave them, with one outcome or error each, in order."""

    @abstractmethod
    def exact(self, native: Any) -> Mapping[int, float] | None:
        """Return the exact distribution of such a circuit; None where it must be sampled."""

    def describe(self) -> ProviderDescription:
        """Describe the devices whose files are installed; see `SimulatorProvider`."""
        described, *others = self.distributions
        installed = installed_version(described)
        install = f"install {with_extras(self.extra)}"
        missing = "" if all(installed_version(each) for each in others) else install
        found = list(self.offered()) if installed else []
        return ProviderDescription(
            provider=ProviderMessage(name=self.name),
            devices=[self.device(shape, missing, f"{described} {installed}") for shape in found],
            calibrations=[
                CalibratedDevice(device=shape.name, calibration=self.calibration(shape.name)) for shape in found
            ],
            unavailable=missing or ("" if found else install),
        )

    def device(self, shape: S, missing: str, status: str) -> Device:
        """Describe one device; for the arguments see `describe_simulator`."""
        device = simulator_device(
            shape.name, num_qubits=shape.num_qubits, basis_gates=shape.basis_gates, missing=missing, status=status
        )
        device.capabilities.coupling_map = True
        device.capabilities.methods.extend(self.methods(shape))
        return device

    def load(self) -> None:
        """Import the SDK once; see `SimulatorProvider`."""
        if self._metadata:
            return
        with importing_sdk(self.extra):
            self._metadata = self.import_sdk()

    def compile(self, circuit: Circuit, device: str, options: CompileOptions = DEFAULTS) -> CompiledCircuit:
        """Compile a circuit to a processor's coupling map and gates; see `SimulatorProvider`."""
        shape = self.shape(device)
        if shape is None:
            raise DeviceError("UNKNOWN_DEVICE", f"{self.name} has no device {device}")
        qubits = circuit.quantum.num_qubits
        if qubits > shape.num_qubits:
            raise DeviceError(
                "TOO_MANY_QUBITS", f"the program has {qubits} qubits, {self.name}/{device} has {shape.num_qubits}"
            )
        self.load()
        from qonduit_server.ir.noise import has_noise

        if has_noise(circuit.quantum):
            raise DeviceError("UNSUPPORTED_CONSTRUCT", f"{self.name}/{device} has noise of its own, and takes no other")
        with compiling(circuit):
            return self.compile_native(circuit, shape, options)

    def run(
        self, device: str, compiled: Sequence[CompiledCircuit], shots: int, seed: int | None
    ) -> Iterator[Outcome | RunError | RunProgress]:
        """Run compiled circuits, one after another; see `SimulatorProvider`."""
        self.load()
        circuits = [shaped(each) for each in compiled]
        for is_run, group in groupby(range(len(circuits)), lambda place: circuits[place].native is not None):
            places = list(group)
            found: Iterator[Outcome | RunError | RunProgress] = iter([Outcome({0: shots})] * len(places))
            if is_run:
                seeds = [program_seed(seed, place) for place in places]
                found = self.run_native([circuits[place].native for place in places], shots, seeds)
            rest = iter(places)
            for each in found:
                if isinstance(each, RunProgress):
                    yield each
                    continue
                meta_data = circuits[next(rest)].meta_data
                if isinstance(each, Outcome):
                    yield Outcome(each.counts, {**each.meta_data, **self._metadata, **meta_data})
                else:
                    yield each

    def probabilities(self, device: str, compiled: CompiledCircuit) -> Mapping[int, float] | None:
        """Return the exact distribution of a circuit that runs as one density matrix; see `SimulatorProvider`."""
        self.load()
        circuit = shaped(compiled)
        return {0: 1.0} if circuit.native is None else self.exact(circuit.native)

    def statevector(self, device: str, compiled: CompiledCircuit) -> NDArray[np.complex128]:
        """Refuse: a noisy circuit has no statevector."""
        raise DeviceError("NO_STATEVECTOR", f"{self.name}/{device} does not support statevectors")


def shaped(compiled: CompiledCircuit) -> ShapedCircuit:
    """Return the circuit of a shaped device in its own form."""
    assert isinstance(compiled.native, ShapedCircuit)
    return compiled.native


def described_width(name: str, num_qubits: int, width: int, memory_bytes: int) -> SimulationMethod:
    """Describe a method that simulates only the qubits that the compiled circuit uses.

    Args:
        name: the method.
        num_qubits: of the device: the width of programs, which may use only some of their qubits.
        width: how many qubits can be simulated.
        memory_bytes: what that takes.
    """
    return SimulationMethod(
        name=name,
        max_qubits=num_qubits,
        max_memory_bytes=memory_bytes,
        circuits=f"any circuit that uses at most {width} qubits",
        exact=True,
    )


def compiled_metadata(method: str, layout: Sequence[int], qubits: int, operations: Operations) -> dict[str, object]:
    """Return the metadata of a compiled circuit.

    Args:
        method: how it is simulated.
        layout: the device's qubit of each qubit of the program.
        qubits: how many are simulated.
        operations: of the compiled circuit.
    """
    depth, large = depth_of(operations)
    return {"method": method, "layout": list(layout), "qubits": qubits, "depth": depth, "two_qubit_gates": large}
