# SPDX-License-Identifier: Apache-2.0
"""Log in to servers of the configuration file at an OpenID Connect provider, and keep the tokens valid."""
