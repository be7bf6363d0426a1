# SPDX-License-Identifier: Apache-2.0
"""A long run of random work, faults and reconnects, which must leak nothing."""
