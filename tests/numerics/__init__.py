# SPDX-License-Identifier: Apache-2.0
"""Counts at fixed seeds: how they depend on the versions of the SDKs, and on Qonduit itself."""
