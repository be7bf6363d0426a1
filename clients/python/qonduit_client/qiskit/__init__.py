# SPDX-License-Identifier: Apache-2.0
"""Qonduit's devices as Qiskit backends, with the primitives that run on them."""

from qonduit_client.qiskit.backend import QonduitBackend
from qonduit_client.qiskit.backend_job import QonduitJob
from qonduit_client.qiskit.estimator import EstimatorV2
from qonduit_client.qiskit.primitive_job import QonduitPrimitiveJob
from qonduit_client.qiskit.qiskit_provider import QonduitProvider
from qonduit_client.qiskit.sampler import SamplerV2

__all__ = ["EstimatorV2", "QonduitBackend", "QonduitJob", "QonduitPrimitiveJob", "QonduitProvider", "SamplerV2"]
