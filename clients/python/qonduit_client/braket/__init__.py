# SPDX-License-Identifier: Apache-2.0
"""Qonduit's devices as devices of Amazon Braket's SDK."""
