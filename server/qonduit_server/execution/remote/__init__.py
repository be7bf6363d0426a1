# SPDX-License-Identifier: Apache-2.0
"""Jobs at vendors: submit, poll, fetch and cancel, without a worker or a thread for each job."""
