# SPDX-License-Identifier: Apache-2.0
"""Shared by the processes of the server and its workers: framing, memory, standard streams."""
