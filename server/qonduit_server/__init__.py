# SPDX-License-Identifier: Apache-2.0
"""The Qonduit server: runs quantum programs on any provider's devices and streams what happens."""
