# Every command that a person or CI uses. `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

STEP = @step() { local began=$$SECONDS; echo "==> $$*"; "$$@"; echo "    took $$((SECONDS - began)) s"; }; step

UNIT = -p chronik-core -p chronik-api -p chronik-broker -p chronik-controller -p chronik-cli

include mk/*.mk

.PHONY: help crds build test test-fast room format-check deny clippy imports unit processes processes-quick brokers brokers-stop clean-leftovers

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

build: ## release binaries of broker, operator and kubectl-chronik in target/release
	$(STEP) cargo build --locked --release -p chronik-broker -p chronik-controller -p chronik-cli

test: clean-leftovers room format-check imports deny clippy unit fuzz-short processes sim-short scenarios ## all that CI runs

test-fast: format-check imports deny clippy unit fuzz-short processes-quick ## what needs no Kubernetes, the long runs left out

clean-leftovers: ## end what an interrupted run left behind
	@mk/brokers.sh stop

room: ## whether the disk has room for the tests
	@mk/room.sh

format-check:
	$(STEP) cargo fmt --all --check

imports: ## the import table of ARCHITECTURE.md
	$(STEP) mk/imports.sh
	$(STEP) mk/imports-test.sh

deny: ## banned crates, licences and sources, by cargo-deny
	$(STEP) mk/deny.sh

clippy:
	$(STEP) cargo clippy --locked --workspace --all-targets -- -D warnings

unit: ## unit and property tests
	$(STEP) cargo test --locked $(UNIT)

crds: ## write the generated CRDs anew
	$(STEP) cargo run --locked --quiet -p chronik-controller -- crds --dir crds --dir charts/chronik/files/crds

processes: SOME =
processes: kafka-tools real-processes ## three real brokers, a real client, real kills and cuts; needs root

processes-quick: SOME = scenarios:: bad_input:: disks::
processes-quick: real-processes ## of these only who died, bad input and damaged disks

.PHONY: real-processes
real-processes:
	@mk/iptables.sh
	$(STEP) cargo build --locked -p chronik-broker --features faulty-disk,next-version
	@install -D target/debug/chronik-broker target/faulty/chronik-broker
	$(STEP) env CHRONIK_BROKER_BIN=$(CURDIR)/target/faulty/chronik-broker cargo test --locked -p chronik-e2e --lib --test processes -- --test-threads=1 --nocapture $(SOME)

brokers: ## three fresh release brokers on 127.0.0.1:19092, :29092, :39092
	$(STEP) cargo build --locked --release -p chronik-broker
	@mk/brokers.sh start target/release/chronik-broker

brokers-stop: ## stop them
	@mk/brokers.sh stop
