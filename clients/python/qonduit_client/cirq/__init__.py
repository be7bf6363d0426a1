# SPDX-License-Identifier: Apache-2.0
"""Qonduit's devices as samplers of Cirq."""

from qonduit_client.cirq.sampler import QonduitSampler

__all__ = ["QonduitSampler"]
