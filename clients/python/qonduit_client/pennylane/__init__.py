# SPDX-License-Identifier: Apache-2.0
"""Qonduit's devices as the PennyLane device "qonduit"."""
