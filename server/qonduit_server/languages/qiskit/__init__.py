# SPDX-License-Identifier: Apache-2.0
"""Qiskit's circuits, sent as QPY, read into the IR."""
