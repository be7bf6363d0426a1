# SPDX-License-Identifier: Apache-2.0
"""The reader of Cirq's JSON. It does not use Cirq's own reader, which evaluates text."""
