# SPDX-License-Identifier: Apache-2.0
"""Databases of every schema revision, and tests that the current server upgrades each of them."""
