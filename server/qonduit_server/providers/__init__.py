# SPDX-License-Identifier: Apache-2.0
"""Providers: the protocols of simulators and of vendors, their registry, and a folder for each kind of devices."""
