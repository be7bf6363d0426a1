# SPDX-License-Identifier: Apache-2.0
"""Qonduit's devices as the PennyLane device "qonduit"."""

from qonduit_client.pennylane.pennylane_device import QonduitDevice

__all__ = ["QonduitDevice"]
