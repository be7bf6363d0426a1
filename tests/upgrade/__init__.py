# SPDX-License-Identifier: Apache-2.0
"""Databases as servers of every schema left them, and the proof that today's server takes each of them over."""
