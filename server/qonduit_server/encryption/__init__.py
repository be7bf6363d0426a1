# SPDX-License-Identifier: Apache-2.0
"""Encryption of secrets with the keys of the server."""
