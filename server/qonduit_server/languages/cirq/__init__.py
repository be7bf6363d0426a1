# SPDX-License-Identifier: Apache-2.0
"""Cirq's JSON read into the hub, by a walk of our own: Cirq's reader evaluates text."""
