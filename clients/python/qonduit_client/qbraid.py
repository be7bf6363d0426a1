# SPDX-License-Identifier: Apache-2.0
"""Qonduit's devices for qBraid, and whatever is built on it."""
