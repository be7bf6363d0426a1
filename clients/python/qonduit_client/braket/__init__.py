# SPDX-License-Identifier: Apache-2.0
"""Devices of a Qonduit server as devices of the Amazon Braket SDK.

from qonduit_client.braket import QonduitDevice

result = QonduitDevice("AWS/local_simulator").run(circuit, shots=1000).result()
"""

from __future__ import annotations

from qonduit_client.braket.braket_device import QonduitDevice
from qonduit_client.braket.task import QonduitTask, QonduitTaskBatch

__all__ = ["QonduitDevice", "QonduitTask", "QonduitTaskBatch"]
