# SPDX-License-Identifier: Apache-2.0
"""A provider of another package whose runs wait until a file exists, so that a test acts while they run."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit_server.errors import RunError
from qonduit_server.ir.circuit import Outcome
from qonduit_server.providers.aer.aer_simulator import AerSimulator
from qonduit_server.providers.provider import CompiledCircuit, RunProgress
from tests.vendor_provider import install

#: The variable that names the file.
GATE: Final = "QONDUIT_TEST_GATE"
#: The name of its device.
DEVICE: Final = "GATED/aer_simulator"


class Gated(AerSimulator):
    """The provider GATED."""

    name = "GATED"

    def describe(self) -> ProviderDescription:
        description = super().describe()
        description.provider.name = self.name
        return description

    def run(
        self, device: str, compiled: Sequence[CompiledCircuit], shots: int, seed: int | None
    ) -> Iterator[Outcome | RunError | RunProgress]:
        yield RunProgress(0.5)
        while not Path(os.environ[GATE]).exists():
            time.sleep(0.05)
        yield from super().run(device, compiled, shots, seed)


def install_gated(folder: Path, gate: Path) -> dict[str, str]:
    """Install the provider in a folder; return the variables with which processes find it and its file."""
    return install(folder, Gated.name, f"{__name__}:Gated") | {GATE: str(gate)}
