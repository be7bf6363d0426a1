# SPDX-License-Identifier: Apache-2.0
# What the client in Go needs, and how it is built.
TOOLS_go := go

build/plugins/go/.ready: clients/go/client.mk
	GOBIN=$(CURDIR)/$(@D) go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.11
	GOBIN=$(CURDIR)/$(@D) go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
	@touch $@

# The stubs are a module of their own, which clients/go/go.mod names by its place.
generated/go/go.mod: generated/go/.ready
	@printf 'module qonduit.dev/contract\n\ngo 1.25.0\n' > $@

client-go: stubs-go clients/go/build/bell  ## build the client in Go

clients/go/build/bell: clients/go/main.go clients/go/go.mod clients/go/go.sum generated/go/go.mod
	go -C clients/go build -o build/bell .
	@touch $@
