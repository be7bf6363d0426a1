# SPDX-License-Identifier: Apache-2.0
"""Load tests of watchers on a real server: many streams, misbehaving clients, and their cost."""
