# SPDX-License-Identifier: Apache-2.0
"""Execution of Python source that builds a circuit, in a sandbox."""
