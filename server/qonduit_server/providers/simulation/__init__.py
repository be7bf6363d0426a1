# SPDX-License-Identifier: Apache-2.0
"""Simulators of statevectors, density matrices and stabilizers, and what they have in common."""
