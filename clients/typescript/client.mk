# SPDX-License-Identifier: Apache-2.0
# What the client in TypeScript needs, and how it is built.
TOOLS_typescript := node npm
PATHS_typescript := google/rpc

build/plugins/typescript/.ready: clients/typescript/package.json clients/typescript/package-lock.json
	npm ci --prefix clients/typescript --silent
	@mkdir -p $(@D) && touch $@

client-typescript: stubs-typescript clients/typescript/dist/bell.js  ## build the client in TypeScript

clients/typescript/dist/bell.js: clients/typescript/src/bell.ts clients/typescript/tsconfig.json generated/typescript/.ready
	npm run build --prefix clients/typescript --silent
	@touch $@
