# SPDX-License-Identifier: Apache-2.0
"""Programs written from the IR, one file per language.

A program that is written and read again has the same registers and the same distribution. A writer rejects constructs
that its language cannot express.
"""
