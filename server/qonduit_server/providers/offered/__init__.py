# SPDX-License-Identifier: Apache-2.0
"""The providers that consist of several kinds of devices."""
