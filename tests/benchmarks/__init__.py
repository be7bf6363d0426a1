# SPDX-License-Identifier: Apache-2.0
"""The benchmarks of `make bench`: ratios to the bare SDK in the same run; no test fails because of a time."""
