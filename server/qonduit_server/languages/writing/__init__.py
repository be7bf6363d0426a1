# SPDX-License-Identifier: Apache-2.0
"""Programs written from the IR, one file a language: what is written and read again has the same registers and the
same distribution; what a language cannot say is refused, never left out."""
