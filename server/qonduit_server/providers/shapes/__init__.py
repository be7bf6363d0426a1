# SPDX-License-Identifier: Apache-2.0
"""Devices with the shape and the noise of real processors."""
