# SPDX-License-Identifier: Apache-2.0
"""Metrics, spans and log lines of the server for the tools of operators."""
