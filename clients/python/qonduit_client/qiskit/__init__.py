# SPDX-License-Identifier: Apache-2.0
"""Qonduit's devices as Qiskit backends, with the primitives that run on them."""
