# SPDX-License-Identifier: Apache-2.0
"""GOOGLE: Cirq's simulators, and devices shaped like Google's processors, on this machine."""

from __future__ import annotations

from qonduit_server.providers.cirq_density import CirqDensity
from qonduit_server.providers.cirq_statevector import CirqStatevector
from qonduit_server.providers.composite import CompositeProvider
from qonduit_server.providers.qsim import Qsim
from qonduit_server.providers.virtual_processors import VirtualProcessors


class Google(CompositeProvider):
    """All devices of GOOGLE."""

    def __init__(self) -> None:
        super().__init__("GOOGLE", CirqStatevector(), CirqDensity(), Qsim(), VirtualProcessors())
