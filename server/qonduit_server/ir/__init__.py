# SPDX-License-Identifier: Apache-2.0
"""The intermediate representation between languages and providers: circuits and formulas over measured bits."""
