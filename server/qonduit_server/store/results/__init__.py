# SPDX-License-Identifier: Apache-2.0
"""Results: rows, chunks of large results, buffers."""
