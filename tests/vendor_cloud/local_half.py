# SPDX-License-Identifier: Apache-2.0
"""Simulators for a provider of the vendor's cloud, which then has devices of both kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit_server.providers.aer.aer_simulator import AerSimulator

#: The provider that has both.
NAME: Final = "CLOUD_TOKEN"


class Simulators(AerSimulator):
    """The simulators."""

    @property
    def name(self) -> str:
        return NAME

    def describe(self) -> ProviderDescription:
        description = super().describe()
        description.provider.name = NAME
        return description


def install(folder: Path) -> None:
    """Install the simulators as a distribution in a folder."""
    metadata = folder / "vendor_simulators-1.0.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    metadata.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: vendor-simulators\nVersion: 1.0\n")
    entry = f"{NAME} = {__name__}:{Simulators.__name__}"
    metadata.joinpath("entry_points.txt").write_text(f"[qonduit.providers]\n{entry}\n")
