# SPDX-License-Identifier: Apache-2.0
"""Histograms as pictures, drawn by matplotlib."""
