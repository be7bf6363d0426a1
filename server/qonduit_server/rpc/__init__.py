# SPDX-License-Identifier: Apache-2.0
"""The gRPC surface: one file for each service."""
