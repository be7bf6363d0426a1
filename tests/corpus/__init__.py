# SPDX-License-Identifier: Apache-2.0
"""Programs with exact reference distributions, run on every provider: `make corpus` prints the whole matrix."""
