# SPDX-License-Identifier: Apache-2.0
"""What stands between languages and providers: circuits, formulas over measured bits, and what both do with them."""
