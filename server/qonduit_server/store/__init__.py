# SPDX-License-Identifier: Apache-2.0
"""The store: jobs, events, results and programs in SQL."""
