// SPDX-License-Identifier: Apache-2.0
// An OpenID Connect provider on loopback for the tests. Any user can log in, with any password.
//
// Its only argument is a JSON object:
//   accessTokenSeconds  lifetime of access tokens (3600)
//   deviceCodeSeconds   lifetime of device codes (600)
//   algorithm           signature of JWT access tokens and ID tokens: "RS256" or "ES256"
//   groups              groups of each user: {"alice": ["admins"]}, a claim of JWT access tokens
//   revocation          whether revocation is offered (true)
//   port                the port; by default a free one
//   certificate, key    PEM files; with them the provider serves HTTPS
//
// It prints "serving on URL", and ends when its standard input does. A token that is requested with a resource (RFC 8707)
// is a JWT for this audience; other access tokens are opaque. GET /-/counts returns the number of granted and refused
// requests by grant type.
import { generateKeyPairSync } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import process from "node:process";

import Provider from "oidc-provider";

const options = {
  accessTokenSeconds: 3600,
  deviceCodeSeconds: 600,
  algorithm: "RS256",
  groups: {},
  revocation: true,
  port: 0,
  ...JSON.parse(process.argv[2] ?? "{}"),
};
const deviceCode = "urn:ietf:params:oauth:grant-type:device_code";

const server = options.certificate
  ? createTlsServer({ cert: readFileSync(options.certificate), key: readFileSync(options.key) })
  : createServer();
await new Promise((listening) => server.listen(options.port, "127.0.0.1", listening));
const issuer = `${options.certificate ? "https" : "http"}://127.0.0.1:${server.address().port}`;

function signingKey(algorithm) {
  const pair =
    algorithm === "ES256"
      ? generateKeyPairSync("ec", { namedCurve: "P-256" })
      : generateKeyPairSync("rsa", { modulusLength: 2048 });
  return { ...pair.privateKey.export({ format: "jwk" }), alg: algorithm, use: "sig", kid: algorithm };
}

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: "qonduit",
      application_type: "native",
      token_endpoint_auth_method: "none",
      grant_types: [deviceCode, "refresh_token"],
      redirect_uris: [],
      response_types: [],
      id_token_signed_response_alg: options.algorithm,
    },
    {
      client_id: "service",
      client_secret: "service-secret",
      grant_types: ["client_credentials"],
      redirect_uris: [],
      response_types: [],
      id_token_signed_response_alg: options.algorithm,
    },
  ],
  jwks: { keys: ["RS256", "ES256"].map(signingKey) },
  cookies: { keys: ["of the tests"] },
  claims: { openid: ["sub"], profile: ["preferred_username"] },
  conformIdTokenClaims: false,
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, preferred_username: id }) }),
  extraTokenClaims: (_, token) => ({ groups: options.groups[token.accountId ?? token.clientId] ?? [] }),
  ttl: {
    AccessToken: options.accessTokenSeconds,
    ClientCredentials: options.accessTokenSeconds,
    DeviceCode: options.deviceCodeSeconds,
  },
  features: {
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    revocation: { enabled: options.revocation },
    resourceIndicators: {
      enabled: true,
      useGrantedResource: () => true,
      getResourceServerInfo: (_, resource) => ({
        audience: resource,
        scope: "jobs",
        accessTokenFormat: "jwt",
        accessTokenTTL: options.accessTokenSeconds,
        jwt: { sign: { alg: options.algorithm } },
      }),
    },
  },
});

const counts = {};
for (const outcome of ["success", "error", "revoked"]) {
  provider.on(`grant.${outcome}`, (ctx) => {
    const name = `${ctx.oidc?.params?.grant_type ?? ctx.oidc?.route} ${outcome}`;
    counts[name] = (counts[name] ?? 0) + 1;
  });
}
provider.on("server_error", (_, error) => console.error(error));

const respond = provider.callback();
server.on("request", (request, response) => {
  if (request.url === "/-/counts") {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(counts));
  } else {
    respond(request, response);
  }
});
process.stdin.on("end", () => process.exit(0)).resume();
console.log(`serving on ${issuer}`);
