# SPDX-License-Identifier: Apache-2.0
"""What the store keeps about owners: their quotas and their usage."""
