# SPDX-License-Identifier: Apache-2.0
"""IBM: Qiskit Aer's simulators on this machine."""

from __future__ import annotations

from qonduit_server.providers.aer_simulator import AerSimulator
from qonduit_server.providers.composite import CompositeProvider


class IBM(CompositeProvider):
    """All devices of IBM."""

    def __init__(self) -> None:
        super().__init__("IBM", AerSimulator())
