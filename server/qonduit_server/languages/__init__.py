# SPDX-License-Identifier: Apache-2.0
"""Readers and writers of languages: a file or folder for each, and their registry."""
