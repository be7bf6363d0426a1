# SPDX-License-Identifier: Apache-2.0
"""Who calls, and what a caller may do: TLS, certificates, tokens, OIDC, and the access of each RPC."""
