# SPDX-License-Identifier: Apache-2.0
"""GOOGLE: Cirq's simulators, and devices shaped like Google's processors, on this machine."""

from __future__ import annotations

from qonduit_server.providers.composite import CompositeProvider
from qonduit_server.providers.shapes.virtual_processors import VirtualProcessors
from qonduit_server.providers.simulation.cirq_density import CirqDensity
from qonduit_server.providers.simulation.cirq_statevector import CirqStatevector
from qonduit_server.providers.simulation.qsim import Qsim


class Google(CompositeProvider):
    """All devices of GOOGLE."""

    def __init__(self) -> None:
        super().__init__("GOOGLE", CirqStatevector(), CirqDensity(), Qsim(), VirtualProcessors())
