# SPDX-License-Identifier: Apache-2.0
"""The dispatcher: claims jobs, submits them to an executor, and records what happens to them."""
