# SPDX-License-Identifier: Apache-2.0
"""The reader of Qiskit's circuits in QPY."""
