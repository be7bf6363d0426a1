# SPDX-License-Identifier: Apache-2.0
"""The simulators that apply gates and channels to an array, each by itself."""

from __future__ import annotations

from qonduit_server.providers.simulation.braket_density import BraketDensity
from qonduit_server.providers.simulation.braket_statevector import BraketStatevector
from qonduit_server.providers.simulation.cirq_density import CirqDensity
from qonduit_server.providers.simulation.cirq_statevector import CirqStatevector

STATEVECTORS = (BraketStatevector, CirqStatevector)
DENSITIES = (BraketDensity, CirqDensity)
