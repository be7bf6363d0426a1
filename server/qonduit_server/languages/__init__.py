# SPDX-License-Identifier: Apache-2.0
"""Languages: a file or folder for each, and the registry of them."""
