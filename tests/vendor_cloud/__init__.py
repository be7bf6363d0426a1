# SPDX-License-Identifier: Apache-2.0
"""A vendor's cloud on loopback, and the provider of its devices."""
