# SPDX-License-Identifier: Apache-2.0
"""Jobs: creation, queue, recording of outcomes, deletion."""
