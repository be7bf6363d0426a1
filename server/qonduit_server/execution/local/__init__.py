# SPDX-License-Identifier: Apache-2.0
"""The executor of one machine: fork servers, workers, and the scheduling of tasks among them."""
