# SPDX-License-Identifier: Apache-2.0
"""Deliberate faults that the tests must catch: `make mutants`."""
