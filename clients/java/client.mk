# SPDX-License-Identifier: Apache-2.0
# What the client in Java needs, and how it is built.
TOOLS_java := javac mvn

# protoc, and its plugin for services, in the versions that pom.xml gives the libraries. Maven runs briefly, so .mvn/jvm.config
# spares it the optimizing compiler: half the time.
build/plugins/java/.ready: clients/java/pom.xml
	mvn -q -B -f clients/java dependency:copy@generators
	@chmod +x $(@D)/protoc*
	@touch $@

client-java: stubs-java clients/java/target/bell.jar  ## build the client in Java

clients/java/target/bell.jar: clients/java/pom.xml $(wildcard clients/java/src/main/java/dev/qonduit/example/*.java) generated/java/.ready
	mvn -q -B -f clients/java package
	@touch $@
