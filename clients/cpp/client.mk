# SPDX-License-Identifier: Apache-2.0
# What the client in C++ needs, and how it is built. Generators and libraries are the machine's own, of one version each:
# on Debian protobuf-compiler, protobuf-compiler-grpc, libprotobuf-dev and libgrpc++-dev, beside cmake and g++.
TOOLS_cpp := cmake g++ protoc grpc_cpp_plugin
PATHS_cpp := google/rpc

build/plugins/cpp/.ready:
	@mkdir -p $(@D) && touch $@

client-cpp: stubs-cpp clients/cpp/build/bell  ## build the client in C++

clients/cpp/build/bell: clients/cpp/CMakeLists.txt clients/cpp/bell.cc generated/cpp/.ready
	cmake -S clients/cpp -B $(@D) >/dev/null
	cmake --build $(@D) --parallel $(shell nproc) >/dev/null
	@touch $@
