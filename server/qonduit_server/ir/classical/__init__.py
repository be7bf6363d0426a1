# SPDX-License-Identifier: Apache-2.0
"""Classical values, control flow and guards while a program is read into the IR."""
