# SPDX-License-Identifier: Apache-2.0
"""The OpenQASM 3 reader: partial evaluation of known values while reading, within limits.

Loops, subroutines, gate definitions, modifiers and arithmetic are evaluated and do not appear in the IR. Statements
that depend on a measurement become operations guarded by formulas over measured bits. Each measurement writes a new
bit, so that a formula has the same meaning everywhere. Only a loop whose end depends on a measurement stays a loop.

`statements` is the entry point; every construct has a file, whose functions share one `EvaluationContext`.
"""
