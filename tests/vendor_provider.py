# SPDX-License-Identifier: Apache-2.0
"""A provider of another package, registered by an entry point: its devices need a token, and some of them leak it.

The devices simulate with Aer. Each device repeats the token where vendors' SDKs have been seen to repeat it.
"""

from __future__ import annotations

import base64
import ctypes
import os
import resource
import signal
import sys
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.provider_pb2 import Provider
from qonduit_server.errors import ProviderError, RunError
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.providers.aer.aer_simulator import AerSimulator
from qonduit_server.providers.provider import DEFAULTS, CompiledCircuit, CompileOptions, RunProgress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: The start of every valid token.
PREFIX: Final = "vendor-"
#: What each device does with the token.
DEVICES: Final = {
    "simulator": "nothing",
    "echo": "fails with an error of the provider that contains the token",
    "faulty": "fails with an unexpected exception that contains the token",
    "chatty": "writes the token to standard error, and returns it in the metadata of the result",
    "crash": "writes the token to standard error and aborts",
    "endless": "never ends",
}
_PR_GET_DUMPABLE: Final = 3


class Vendor:
    """The provider VENDOR."""

    name: Final = "VENDOR"
    distributions: Final = ("qiskit-aer",)

    def __init__(self) -> None:
        self._aer = AerSimulator()
        self.token = ""

    def describe(self) -> ProviderDescription:
        description = ProviderDescription(provider=Provider(name=self.name, with_token=True))
        for name in DEVICES:
            device = description.devices.add()
            device.CopyFrom(self._aer.describe().devices[0])
            device.name = name
        return description

    def load(self) -> None:
        self._aer.load()

    def authenticate(self, credential: str) -> None:
        if not credential.startswith(PREFIX):
            raise ProviderError("TOKEN_REJECTED", f"401 Unauthorized: the token {credential} is invalid")
        self.token = credential

    def compile(self, circuit: Circuit, device: str, options: CompileOptions = DEFAULTS) -> CompiledCircuit:
        return self._aer.compile(circuit, self._aer.device, options)

    def run(
        self, device: str, compiled: Sequence[CompiledCircuit], shots: int, seed: int | None
    ) -> Iterator[Outcome | RunError | RunProgress]:
        token = self.token
        if not token:
            raise AssertionError("authenticate was not called")
        basic = base64.b64encode(f"user:{token}".encode()).decode()
        url = f"https://vendor.invalid/jobs?key={urllib.parse.quote(token)}"
        everything = f"{token!r} in {url}, Authorization: Basic {basic}, {token.encode().hex()}"
        if device == "echo":
            raise ProviderError("REJECTED", f"403 for {everything}", provider_code=f"E-{token}")
        if device == "faulty":
            raise ValueError(everything)
        if device in ("chatty", "crash"):
            print(f"using {everything}", file=sys.stderr, flush=True)
        if device == "crash":
            os.abort()
        if device == "endless":
            yield RunProgress(0.5)
            while True:
                signal.pause()
        for outcome in self._aer.run(self._aer.device, compiled, shots, seed):
            if isinstance(outcome, Outcome):
                facts: dict[str, Any] = {
                    "pid": os.getpid(),
                    "dumpable": ctypes.CDLL(None).prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0),
                    "core_limit": resource.getrlimit(resource.RLIMIT_CORE)[0],
                }
                if device == "chatty":
                    facts |= {"request": everything, "headers": {token: [basic]}}
                outcome.meta_data.update(facts)  # type: ignore[attr-defined]
            yield outcome

    def probabilities(self, device: str, compiled: CompiledCircuit) -> Mapping[int, float] | None:
        return self._aer.probabilities(self._aer.device, compiled)

    def exact_distributions(
        self, device: str, compiled: Sequence[CompiledCircuit]
    ) -> Iterator[Mapping[int, float] | None]:
        return self._aer.exact_distributions(self._aer.device, compiled)

    def statevector(self, device: str, compiled: CompiledCircuit) -> NDArray[np.complex128]:
        return self._aer.statevector(self._aer.device, compiled)

    def statevectors(self, device: str, compiled: Sequence[CompiledCircuit]) -> Iterator[NDArray[np.complex128]]:
        return self._aer.statevectors(self._aer.device, compiled)

    def binds(self, device: str) -> bool:
        return False

    def bind(
        self, device: str, template: CompiledCircuit, names: Sequence[str], values: NDArray[np.float64]
    ) -> Callable[[int], CompiledCircuit]:
        raise NotImplementedError


def install(folder: Path, name: str = Vendor.name, provider: str = f"{__name__}:Vendor") -> dict[str, str]:
    """Install a provider as a distribution in a folder; return the variables with which processes find it."""
    metadata = folder / "vendor_provider-1.0.dist-info"
    metadata.mkdir(parents=True)
    metadata.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: vendor-provider\nVersion: 1.0\n")
    metadata.joinpath("entry_points.txt").write_text(f"[qonduit.providers]\n{name} = {provider}\n")
    return {"PYTHONPATH": os.pathsep.join((str(folder), str(Path(__file__).resolve().parents[1])))}
