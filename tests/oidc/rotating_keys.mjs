// SPDX-License-Identifier: Apache-2.0
// An OIDC provider on a free loopback port. Each line of standard input, a JSON object, restarts it with a new key:
// alg (its algorithm), keep (whether the old keys stay published), ttl (seconds for which tokens are valid).
// It answers each line with one line: its issuer URL. Its clients are also their own subjects.

import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import Provider from "oidc-provider";

const GROUPS = { olga: ["staff", "qonduit-operators"], adam: ["staff", "qonduit-admins"] };

// The provider's hints about production; standard output has issuers alone.
console.info = console.warn = console.error;

let handle = (_request, response) => response.writeHead(503).end();
const server = createServer((request, response) => handle(request, response));
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;
let keys = [];
let made = 0;

function newKey(alg) {
  const [type, options] =
    alg === "ES256" ? ["ec", { namedCurve: "P-256" }] : alg === "EdDSA" ? ["ed25519", {}] : ["rsa", { modulusLength: 2048 }];
  const { privateKey } = generateKeyPairSync(type, options);
  return { ...privateKey.export({ format: "jwk" }), kid: `key-${++made}`, alg, use: "sig" };
}

function provide(alg, ttl) {
  const clients = ["anna", "ben", "olga", "adam"].map((id) => ({
    client_id: id,
    client_secret: `${id}-secret`,
    grant_types: ["client_credentials"],
    redirect_uris: [],
    response_types: [],
    id_token_signed_response_alg: alg,
  }));
  const provider = new Provider(issuer, {
    jwks: { keys },
    cookies: { keys: ["test"] },
    clients,
    extraTokenClaims: (_context, token) => ({ realm: { groups: GROUPS[token.clientId] ?? ["staff"] } }),
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_context, resource) => ({
          scope: "run",
          audience: resource,
          accessTokenTTL: ttl,
          accessTokenFormat: "jwt",
          jwt: { sign: { alg } },
        }),
      },
    },
  });
  handle = provider.callback();
}

for await (const line of createInterface({ input: process.stdin })) {
  const { alg, keep, ttl } = JSON.parse(line);
  keys = [newKey(alg), ...(keep ? keys : [])];
  provide(alg, ttl);
  console.log(issuer);
}
process.exit(0);
