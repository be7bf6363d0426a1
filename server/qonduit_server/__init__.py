# SPDX-License-Identifier: Apache-2.0
"""The Qonduit server: run quantum programs on any provider's devices and stream their events."""
