# SPDX-License-Identifier: Apache-2.0
"""Providers: one file for each vendor's SDK."""
