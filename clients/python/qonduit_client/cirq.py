# SPDX-License-Identifier: Apache-2.0
"""Qonduit's devices as samplers of Cirq."""
