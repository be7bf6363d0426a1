# SPDX-License-Identifier: Apache-2.0
"""Quil read into the IR."""
