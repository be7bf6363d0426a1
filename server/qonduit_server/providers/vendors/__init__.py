# SPDX-License-Identifier: Apache-2.0
"""The devices of vendors, by the SDK of each."""
