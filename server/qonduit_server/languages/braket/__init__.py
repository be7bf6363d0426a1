# SPDX-License-Identifier: Apache-2.0
"""Amazon Braket's dialect of OpenQASM 3 read into the IR."""
