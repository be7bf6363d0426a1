# SPDX-License-Identifier: Apache-2.0
"""OpenQASM 3 by partial evaluation: everything that is known is done while reading, under budgets.

Loops, subroutines, gate definitions, modifiers and arithmetic leave no trace in the IR. What depends on a measurement
becomes operations guarded by formulas over measured bits; each measurement writes a bit of its own, so that a formula
means the same wherever it is used. Only a loop whose end depends on a measurement stays a loop.

`statements` is where a program enters; every construct has a file, whose functions share one `Reading`.
"""
