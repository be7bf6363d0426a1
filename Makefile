# SPDX-License-Identifier: Apache-2.0
# The targets for developers. Each target first builds the environment if it is missing or out of date.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null || echo $(VENV)-uv/bin/uv)
export UV_PYTHON_DOWNLOADS := never
PROTOS := $(sort $(shell find protos/qonduit -name "*.proto"))
SERVICES := $(sort $(shell find protos/qonduit -name "*_service.proto"))
CONTRACT := $(filter protos/qonduit/v1/%,$(PROTOS))

# Clients in other languages: clients/<language>/buf.gen.yaml configures the stubs. client.mk beside it defines the tools
# of the language (TOOLS_<language>), stubs beside the contract's (PATHS_<language>), the targets that put its plugins into
# build/plugins/<language>, and the target that builds its program.
LANGUAGES := $(patsubst clients/%/buf.gen.yaml,%,$(sort $(wildcard clients/*/buf.gen.yaml)))
missing_tool = $(firstword $(foreach tool,$(TOOLS_$(1)),$(if $(shell command -v $(tool) 2>/dev/null),,$(tool))))
include $(LANGUAGES:%=clients/%/client.mk)
.DEFAULT_GOAL := help
# The parts of `make check`; .pre-commit-config.yaml runs each for the files that it checks.
CHECKS := check-style check-types check-imports check-words check-github check-deploy check-protos check-generated check-docs
.PHONY: $(foreach language,$(LANGUAGES),tools-$(language) stubs-$(language) client-$(language))

.PHONY: setup demo demo-picture test test-long test-unit check $(CHECKS) generate descriptor clients lock wheels deploy slurm corpus fuzz fuzz-surface qrisp upgrade-sample numerics crash vendors away failover bench growth watchers soak adapters mutants docs clean help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 19

setup: $(VENV)/.ready  ## build .venv from requirements.lock

$(VENV)/.ready: requirements.lock pyproject.toml
	@command -v $(UV) >/dev/null 2>&1 || { $(PYTHON) -m venv $(VENV)-uv && $(VENV)-uv/bin/python -m pip install --quiet uv; }
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) $(VENV)
	@echo "building $(VENV) from requirements.lock: a minute or two, once"
	@$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes --requirements requirements.lock
	@# Remove the distribution's old name from an environment built before the rename.
	@rm -rf $(VENV)/lib/python3*/site-packages/qonduit-*.dist-info $(VENV)/lib/python3*/site-packages/_editable_impl_qonduit.pth
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@$(BIN)/python -m compileall -q server clients/python generated/python
	@touch $@

demo: setup  ## run a Bell circuit on three providers, with live progress
	@$(BIN)/qonduit demo

demo-picture: setup  ## record docs/demo.svg from the demo
	@$(BIN)/python docs/site/demo_picture.py

# Tests wait for processes that they start: three at a time keep two cores busy.
PROCESSES ?= 3
# They start hundreds of processes, which would each compile every changed module where the environment forbids bytecode.
test test-long test-unit: export PYTHONDONTWRITEBYTECODE :=
test: setup  ## run every test, PROCESSES=3 of them at a time
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder

test-long: setup  ## run the tests that `make test` leaves out, without those of images and units of systemd
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile -m long --ignore tests/deploy

test-unit: setup  ## run the unit tests alone, PROCESSES=3 of them at a time
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder tests/unit

check: $(CHECKS)  ## style, types, import rules, words, repository files, deployment files, protos, generated code, documentation site

check-style: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

check-types: setup
	$(BIN)/mypy

check-imports: setup
	$(BIN)/lint-imports

check-words: setup
	$(BIN)/codespell
	$(BIN)/python -m tests.prose

SCHEMA := $(BIN)/check-jsonschema --builtin-schema
check-github: setup
	$(SCHEMA) vendor.github-workflows .github/workflows/*.yml
	$(SCHEMA) custom.github-workflows-require-timeout .github/workflows/*.yml
	$(SCHEMA) vendor.dependabot .github/dependabot.yml
	$(SCHEMA) vendor.github-issue-forms .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/feature.yml
	$(SCHEMA) vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(SCHEMA) vendor.citation-file-format CITATION.cff

check-deploy: setup
	$(BIN)/hadolint deploy/Containerfile
	$(SCHEMA) vendor.compose-spec deploy/compose.yaml

check-protos: setup
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code

# Staged files count as committed.
check-generated: setup
	$(MAKE) generate && git diff --exit-code -- generated && test -z "$$(git ls-files --others --exclude-standard -- generated)"

check-docs: docs

# The stubs of the validation rules go where no other distribution installs files (see protos/python).
RULES := generated/python/qonduit/_vendor
generate: setup  ## generate stubs from protos/ into generated/, for every language whose tools are installed
	@rm -rf generated/python/qonduit generated/python/buf
	@$(BIN)/python -m grpc_tools.protoc -Iprotos/third_party -Iprotos \
		--python_out=generated/python --pyi_out=generated/python \
		$(PROTOS) buf/validate/validate.proto
	@mkdir -p $(RULES)/buf && mv generated/python/buf/validate/* $(RULES)/buf && rm -r generated/python/buf
	@cp protos/python/_vendor.py $(RULES)/__init__.py
	@find generated/python/qonduit -name "*_pb2.py*" -exec sed -i.old \
		-e 's/^from buf\.validate import/from qonduit._vendor import/' \
		-e "s/'buf\.validate\.validate_pb2'/'qonduit._vendor.buf.validate_pb2'/" {} +
	@find generated/python/qonduit -name "*.old" -delete
	@touch generated/python/qonduit/py.typed
	@$(BIN)/python -m grpc_tools.protoc -Iprotos/third_party -Iprotos --grpc_python_out=generated/python $(SERVICES)
	@$(BIN)/python protos/python/stub_types.py generated/python $(SERVICES:protos/%=%)
	@$(BIN)/python -m compileall -q generated/python
	@$(foreach language,$(LANGUAGES),$(if $(call missing_tool,$(language)), \
		echo "not generated: $(language) (no $(call missing_tool,$(language)))";, \
		$(MAKE) --no-print-directory stubs-$(language) || echo "not generated: $(language) (see above)";))

$(LANGUAGES:%=stubs-%): stubs-%: tools-% generated/%/.ready
	@:

# Without annotations (rules and field behaviour), so that clients do not depend on their packages.
generated/%/.ready: clients/%/buf.gen.yaml build/qonduit.binpb build/plugins/%/.ready
	@rm -rf $(@D)
	$(BIN)/buf generate build/qonduit.binpb --template $< --exclude-type buf.validate --exclude-type google.api \
		$(foreach path,qonduit/v1 $(PATHS_$*),--path $(path))
	@touch $@

descriptor: build/qonduit.binpb  ## write the contract as one file, for grpcurl -protoset, buf curl, Postman and similar tools

# Includes the types of error details, so that tools can decode them.
build/qonduit.binpb: $(CONTRACT) | $(VENV)/.ready
	@mkdir -p $(@D)
	$(BIN)/python -m grpc_tools.protoc -Iprotos/third_party -Iprotos -I$$(echo $(VENV)/lib/python3*/site-packages) \
		--include_imports --include_source_info --descriptor_set_out=$@ \
		$(CONTRACT) google/rpc/error_details.proto google/rpc/status.proto

clients: setup  ## build the client of every language whose tools are installed
	@$(foreach language,$(LANGUAGES),$(if $(call missing_tool,$(language)), \
		echo "not built: $(language) (no $(call missing_tool,$(language)))";, \
		$(MAKE) --no-print-directory client-$(language) || exit 1;))

$(LANGUAGES:%=tools-%): tools-%:
	@$(if $(call missing_tool,$*),echo "$* needs $(call missing_tool,$*) on this machine" >&2; exit 1,:)

# The packages of the environments that `qonduit provider install` builds.
VENDORS := server/qonduit_server/provider_requirements
COMPILE := pip compile --quiet --generate-hashes --no-emit-index-url --no-header --no-annotate
lock: setup  ## resolve pyproject.toml into requirements.lock, and the packages of the environment for server programs
	$(UV) $(COMPILE) --universal --all-extras --group dev --python-version 3.11 --output-file requirements.lock pyproject.toml
	$(UV) $(COMPILE) --universal --python-version 3.11 --constraint requirements.lock \
		--output-file server/qonduit_server/python_environments/default.lock \
		server/qonduit_server/python_environments/default.in
	@for list in $(filter-out %/process.in,$(wildcard $(VENDORS)/*.in)); do \
		$(UV) $(COMPILE) --universal --python-version 3.11 --output-file $${list%.in}.txt $(VENDORS)/process.in $$list || exit 1; done

# The versions are those of requirements.lock. The wheels are for this platform.
WHEELS_PYTHON ?= $(BIN)/python
wheels: setup  ## collect the server with all its dependencies in build/wheels, for machines without a network
	@rm -rf build/wheels && mkdir -p build/wheels
	@$(UV) build --quiet --wheel --out-dir build/wheels
	@$(UV) $(COMPILE) --extra all --python $(WHEELS_PYTHON) --constraint requirements.lock \
		--output-file build/wheels/requirements.txt pyproject.toml
	@$(UV) tool run --quiet --python $(WHEELS_PYTHON) pip download --quiet --require-hashes --only-binary=:all: --no-deps \
		--dest build/wheels --requirement build/wheels/requirements.txt
	@cd build/wheels && for wheel in qonduit_quantum-*.whl; do version=$${wheel#*-} && \
		echo "qonduit-quantum==$${version%%-*} --hash=sha256:$$(sha256sum $$wheel | cut -d' ' -f1)" >>requirements.txt; done
	@echo "build/wheels: $$(ls build/wheels/*.whl | wc -l) wheels, $$(du -sh build/wheels | cut -f1)"

# A base image without a registry, and the root of a machine with systemd.
build/deploy/debian.tar:
	@mkdir -p $(@D)
	mmdebstrap --quiet --variant=minbase --include=ca-certificates,dbus,python3,python3-venv,systemd-sysv bookworm $@

deploy: wheels build/deploy/debian.tar  ## build the image, and run it and the units of deploy/; needs root and several minutes
	$(BIN)/python -m pytest -m "long or not long" tests/deploy

slurm: setup  ## run worker machines in jobs of a real Slurm; several minutes
	$(BIN)/python -m pytest -m "long or not long" tests/e2e/test_slurm.py

PACKAGE ?=
numerics: setup  ## compare counts at fixed seeds between versions of the SDKs, and write docs/numerics.md; half an hour; PACKAGE=... compares one
	$(BIN)/python -m tests.numerics $(if $(PACKAGE),--package $(PACKAGE))

corpus: setup  ## run every program of the corpus on every simulator, and print the matrix
	$(BIN)/python -m tests.corpus

SECONDS_EACH ?= 60
fuzz: setup  ## run every reader on random programs, SECONDS_EACH=60 for each
	@$(UV) pip install --quiet --python $(BIN)/python "atheris>=3,<4"
	@for language in QASM2 QASM3 QISKIT BRAKET CIRQ QUIL IONQ; do \
		echo "$$language" && $(BIN)/python -m tests.fuzz $$language --seconds $(SECONDS_EACH) 2>&1 | tail -1 || exit 1; done

MINUTES ?= 30
EXECUTOR ?= local
soak: setup  ## run random jobs, faults and reconnects for MINUTES=30, and check for leaks; EXECUTOR=celery adds machines
	$(BIN)/python -m tests.soak --minutes $(MINUTES) --executor $(EXECUTOR)

SECONDS ?= 600
fuzz-surface: setup  ## send random calls and sequences of calls to every RPC for SECONDS=600; SEED=... repeats a round
	$(BIN)/python -m tests.fuzz.long --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

KILLS ?= 500
crash: setup  ## kill processes at every step of a job, KILLS=500 times; EXECUTOR=celery adds machines, SEED=... repeats
	$(BIN)/python -m tests.e2e.faults --kills $(KILLS) --executor $(EXECUTOR) $(if $(SEED),--seed $(SEED))

ROUNDS ?= 2
vendors: setup  ## run the contract of vendors, and kill processes at every step of submissions, ROUNDS=2 times
	CRASH_ROUNDS=$(ROUNDS) $(BIN)/python -m pytest -s -m "long or not long" --timeout 7200 tests/e2e/test_vendors.py \
		tests/e2e/test_google_processors.py tests/e2e/test_ibm_sessions.py tests/e2e/test_rigetti_requests.py \
		tests/e2e/test_iqm_requests.py tests/e2e/test_ibm_estimator.py \
		tests/e2e/faults/test_vendor_crashes.py tests/e2e/faults/test_stopped_submitter.py

AWAY ?= 30
away: setup  ## make the database of a loaded server unavailable for AWAY=30 seconds, in several ways
	SECONDS_AWAY=$(AWAY) $(BIN)/python -m pytest -s -m "long or not long" tests/e2e/test_database_away.py

FAILOVERS ?= 5
failover: setup  ## kill the PostgreSQL primary of two loaded servers and promote its standby, FAILOVERS=5 times
	FAILOVERS=$(FAILOVERS) $(BIN)/python -m pytest -s -m "long or not long" tests/e2e/test_failover.py

adapters: setup  ## compare every adapter with its SDK's own simulator over the whole corpus
	$(BIN)/python -m pytest -m "long or not long" tests/adapters

FAULT ?=
mutants: setup  ## apply every known fault to a copy, PROCESSES=3 at a time, and check that its tests fail; FAULT=... runs one
	$(BIN)/python -m tests.mutants --processes $(PROCESSES) $(FAULT)

docs: setup  ## build the documentation site into build/site; warnings are errors
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file docs/site/mkdocs.yml

bench: setup  ## run the benchmarks, relative to the bare SDKs in the same run; QASMBENCH=FOLDER adds its .qasm files
	$(BIN)/python -m tests.benchmarks --write

JOBS ?= 100 1000000 10000000
growth: setup  ## measure lists, claims and retention with JOBS="100 1000000 10000000" stored jobs; needs 25 GB of disk and an hour
	$(BIN)/python -m tests.benchmarks.growth --jobs $(JOBS)
	$(BIN)/python -m tests.benchmarks.job_writes

watchers: setup  ## open 10,000 watchers on a real server, and print their cost
	$(BIN)/python -m tests.watchers

# Qrisp pins versions that conflict with the other SDKs.
QRISP := 0.9.10
qrisp: $(VENV)-qrisp/.ready-$(QRISP)  ## build .venv-qrisp, the environment of the test of Qrisp's Python source

$(VENV)-qrisp/.ready-$(QRISP): | setup
	@echo "building $(VENV)-qrisp: about a minute, once"
	@$(UV) venv --quiet --clear --python $(BIN)/python $(VENV)-qrisp
	@$(UV) pip install --quiet --compile-bytecode --python $(VENV)-qrisp/bin/python qrisp==$(QRISP)
	@touch $@

upgrade-sample: setup  ## store a database of a new schema, for the upgrade tests of later versions
	$(BIN)/python -m tests.upgrade

clean:  ## remove the output of the targets
	rm -rf $(VENV) $(VENV)-uv $(VENV)-qrisp .pytest_cache .mypy_cache .ruff_cache .hypothesis build
	git clean -ffdqX clients generated
