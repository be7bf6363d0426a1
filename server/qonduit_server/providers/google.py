# SPDX-License-Identifier: Apache-2.0
"""GOOGLE: Cirq's simulators on this machine."""

from __future__ import annotations

from qonduit_server.providers.cirq_density import CirqDensity
from qonduit_server.providers.cirq_statevector import CirqStatevector
from qonduit_server.providers.composite import CompositeProvider


class Google(CompositeProvider):
    """Cirq's simulators: statevectors and density matrices."""

    def __init__(self) -> None:
        super().__init__("GOOGLE", CirqStatevector(), CirqDensity())
