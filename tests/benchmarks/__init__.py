# SPDX-License-Identifier: Apache-2.0
"""What `make bench` measures: ratios against the bare SDK in the same run; no test fails on a time."""
