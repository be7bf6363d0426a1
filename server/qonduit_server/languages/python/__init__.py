# SPDX-License-Identifier: Apache-2.0
"""Python source that builds a circuit, run in a sandbox."""
