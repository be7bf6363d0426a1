# SPDX-License-Identifier: Apache-2.0
"""Jobs as live progress bars in a notebook."""
