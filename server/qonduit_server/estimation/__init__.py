# SPDX-License-Identifier: Apache-2.0
"""Expectation values of observables: grouping, exact values, statistics, shot allocation and gradients.

Works on arrays, outcomes and IR circuits; it knows no provider, no language and no worker. The runner joins them.
"""
