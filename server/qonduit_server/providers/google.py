# SPDX-License-Identifier: Apache-2.0
"""GOOGLE: Cirq's simulators on this machine."""

from __future__ import annotations

from qonduit_server.providers.cirq_density import CirqDensity
from qonduit_server.providers.cirq_statevector import CirqStatevector
from qonduit_server.providers.composite import CompositeProvider
from qonduit_server.providers.qsim import Qsim


class Google(CompositeProvider):
    """All devices of GOOGLE."""

    def __init__(self) -> None:
        super().__init__("GOOGLE", CirqStatevector(), CirqDensity(), Qsim())
