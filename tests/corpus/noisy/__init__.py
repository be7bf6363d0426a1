# SPDX-License-Identifier: Apache-2.0
"""Programs with noise and their exact distributions."""
