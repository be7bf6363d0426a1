# SPDX-License-Identifier: Apache-2.0
"""The reader of Amazon Braket's dialect of OpenQASM 3."""
