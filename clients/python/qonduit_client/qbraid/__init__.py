# SPDX-License-Identifier: Apache-2.0
"""Devices of a Qonduit server in the qBraid runtime."""

from qonduit_client.qbraid.qbraid_device import QonduitDevice
from qonduit_client.qbraid.qbraid_errors import QonduitJobError
from qonduit_client.qbraid.qbraid_job import QonduitJob
from qonduit_client.qbraid.qbraid_provider import QonduitProvider

__all__ = ["QonduitDevice", "QonduitJob", "QonduitJobError", "QonduitProvider"]
