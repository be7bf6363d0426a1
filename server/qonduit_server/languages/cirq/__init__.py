# SPDX-License-Identifier: Apache-2.0
"""Cirq's JSON read into the IR, by a walk of our own: Cirq's reader evaluates text."""
