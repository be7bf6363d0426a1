# SPDX-License-Identifier: Apache-2.0
"""Execution: the dispatcher, and the executor that runs tasks in worker processes."""
