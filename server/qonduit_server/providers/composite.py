# SPDX-License-Identifier: Apache-2.0
"""A provider made of parts, each of which is a provider with some of the devices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit_server.errors import DeviceError, RunError
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.providers.provider import (
    DEFAULTS,
    CompiledCircuit,
    CompileOptions,
    RunProgress,
    SimulatorProvider,
    SmallRun,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class CompositeProvider:
    """A `SimulatorProvider` that hands each call to the part that has the device.

    `load` loads the first part. The others load their SDK when a program is compiled for one of their devices, so that
    workers that never see such a program do not pay for it.

    Args:
        name: the provider's name; the parts have it too.
        parts: in the order in which their devices are listed.
    """

    def __init__(self, name: str, *parts: SimulatorProvider) -> None:
        self.name = name
        self._parts = parts
        described = [(part, part.describe()) for part in parts]
        self._by_device = {device.name: part for part, each in described for device in each.devices}
        #: Has the devices that no part describes: the account of a job decides which exist.
        self._vendor = next((part for part, each in described if each.HasField("vendor")), None)

    @property
    def exhausted(self) -> bool:
        """Whether the process should be replaced before the next task; see `SimulatorProvider`."""
        return any(getattr(part, "exhausted", False) for part in self._parts)

    def describe(self) -> ProviderDescription:
        """Describe the devices of all parts; the provider is unavailable if all of its parts are."""
        described = [part.describe() for part in self._parts]
        if len({each.provider.with_token for each in described}) > 1:
            for each in described:
                for device in each.devices:
                    device.with_token = each.provider.with_token
        first, *others = described
        for other in others:
            first.provider.with_token |= other.provider.with_token
            first.devices.extend(other.devices)
            first.calibrations.extend(other.calibrations)
            if other.HasField("vendor"):
                first.vendor.CopyFrom(other.vendor)
            if not other.unavailable:
                first.unavailable = ""
        return first

    def load(self) -> None:
        """Load the first part."""
        self._parts[0].load()

    def compile(self, circuit: Circuit, device: str, options: CompileOptions = DEFAULTS) -> CompiledCircuit:
        """Compile a circuit for a device; see `SimulatorProvider`."""
        return self.part(device).compile(circuit, device, options)

    def run(
        self, device: str, compiled: Sequence[CompiledCircuit], shots: int, seed: int | None
    ) -> Iterator[Outcome | RunError | RunProgress]:
        """Run compiled circuits; see `SimulatorProvider`."""
        return self.part(device).run(device, compiled, shots, seed)

    def is_small(self, device: str, compiled: CompiledCircuit) -> bool:
        """Return whether a circuit may share a call; see `SimulatorProvider`."""
        part: Any = self.part(device)
        return hasattr(part, "is_small") and part.is_small(device, compiled)

    def run_small(self, device: str, runs: Sequence[SmallRun]) -> Sequence[Outcome | RunError]:
        """Run small circuits in one call; see `SimulatorProvider`."""
        part: Any = self.part(device)
        outcomes: Sequence[Outcome | RunError] = part.run_small(device, runs)
        return outcomes

    def probabilities(self, device: str, compiled: CompiledCircuit) -> Mapping[int, float] | None:
        """Return an exact distribution; see `SimulatorProvider`."""
        return self.part(device).probabilities(device, compiled)

    def exact_distributions(
        self, device: str, compiled: Sequence[CompiledCircuit]
    ) -> Iterator[Mapping[int, float] | None]:
        """Yield exact distributions; see `SimulatorProvider`."""
        return self.part(device).exact_distributions(device, compiled)

    def binds(self, device: str) -> bool:
        """Return whether a device binds; see `SimulatorProvider`."""
        return self.part(device).binds(device)

    def bind(
        self, device: str, template: CompiledCircuit, names: Sequence[str], values: NDArray[np.float64]
    ) -> Callable[[int], CompiledCircuit]:
        """Return a function from points to compiled circuits; see `SimulatorProvider`."""
        return self.part(device).bind(device, template, names, values)

    def statevectors(self, device: str, compiled: Sequence[CompiledCircuit]) -> Iterator[NDArray[np.complex128]]:
        """Yield exact states; see `SimulatorProvider`."""
        return self.part(device).statevectors(device, compiled)

    def statevector(self, device: str, compiled: CompiledCircuit) -> NDArray[np.complex128]:
        """Return an exact state; see `SimulatorProvider`."""
        return self.part(device).statevector(device, compiled)

    def part(self, device: str) -> SimulatorProvider:
        """Return the part that has a device. Raises DeviceError."""
        part = self._by_device.get(device, self._vendor)
        if part is None:
            known = ", ".join(self._by_device)
            raise DeviceError("UNKNOWN_DEVICE", f"{self.name} has no device {device}; it has {known}")
        return part.part(device) if isinstance(part, CompositeProvider) else part
