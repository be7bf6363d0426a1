# SPDX-License-Identifier: Apache-2.0
# What the client in Rust needs, and how it is built.
TOOLS_rust := cargo

# Unoptimized: building them takes longer than they ever run.
build/plugins/rust/.ready: clients/rust/client.mk
	CARGO_TARGET_DIR=$(@D)/target CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --locked --debug --force --root $(@D) \
		protoc-gen-prost@0.5.0 protoc-gen-tonic@0.5.0
	@rm -rf $(@D)/target
	@touch $@

client-rust: stubs-rust clients/rust/target/debug/bell  ## build the client in Rust

clients/rust/target/debug/bell: clients/rust/Cargo.toml clients/rust/src/main.rs generated/rust/.ready
	cargo build --quiet --manifest-path clients/rust/Cargo.toml
	@touch $@
