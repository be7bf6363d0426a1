# SPDX-License-Identifier: Apache-2.0
"""AWS: Amazon Braket's simulators on this machine."""

from __future__ import annotations

from qonduit_server.providers.composite import CompositeProvider
from qonduit_server.providers.simulation.braket_density import BraketDensity
from qonduit_server.providers.simulation.braket_statevector import BraketStatevector


class AWS(CompositeProvider):
    """Braket's local simulators: statevectors and density matrices."""

    def __init__(self) -> None:
        super().__init__("AWS", BraketStatevector(), BraketDensity())
