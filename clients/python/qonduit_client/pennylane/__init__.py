# SPDX-License-Identifier: Apache-2.0
"""Devices of a Qonduit server as the PennyLane device "qonduit"."""

from qonduit_client.pennylane.pennylane_device import QonduitDevice

__all__ = ["QonduitDevice"]
