# SPDX-License-Identifier: Apache-2.0
"""Devices of a Qonduit server as samplers of Cirq."""

from qonduit_client.cirq.cirq_job import QonduitJob
from qonduit_client.cirq.pauli_sum_collector import QonduitPauliSumCollector
from qonduit_client.cirq.sampler import QonduitSampler

__all__ = ["QonduitJob", "QonduitPauliSumCollector", "QonduitSampler"]
