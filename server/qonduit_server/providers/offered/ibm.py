# SPDX-License-Identifier: Apache-2.0
"""IBM: Qiskit Aer's simulators, and devices shaped like IBM's processors, on this machine."""

from __future__ import annotations

from qonduit_server.providers.aer.aer_gpu import find_gpu
from qonduit_server.providers.aer.aer_simulator import AerSimulator
from qonduit_server.providers.composite import CompositeProvider
from qonduit_server.providers.provider import SimulatorProvider
from qonduit_server.providers.shapes.fake_backends import FakeBackends


class IBM(CompositeProvider):
    """All devices of IBM; `aer_gpu` is among them only where it can run."""

    def __init__(self) -> None:
        gpu = find_gpu()
        parts: list[SimulatorProvider] = [AerSimulator()]
        if gpu.memory_bytes:
            parts.append(AerSimulator("aer_gpu", gpu.memory_bytes))
        super().__init__("IBM", *parts, FakeBackends())
