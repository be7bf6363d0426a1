# SPDX-License-Identifier: Apache-2.0
"""Random input for the readers, guided by code coverage: `make fuzz`."""
