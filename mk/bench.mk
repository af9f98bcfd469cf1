# The side-by-side comparison with Apache Kafka, and the comparison of layouts of the log. See docs/benchmarks.md.

.PHONY: bench bench-journal idle

ROUNDS ?= 3
PARTS ?= load,faults,partitions-1,partitions-100,partitions-1000
PARTITIONS ?= 1000

bench: kafka-tools ## Kafka and Chronik side by side, alternating; about 40 minutes (ROUNDS=1 PARTS=load: 7)
	$(STEP) cargo build --locked --release -p chronik-broker
	@rm -rf target/bench/results
	@bench/compare.py run --rounds $(ROUNDS) --parts $(PARTS)
	@bench/compare.py report

bench-journal: ## one journal against a file for each partition, synced, at 1, 100 and 1,000 partitions
	$(STEP) cargo build --locked --release -p chronik-bench-journal
	@target/release/journal target/bench/journal

idle: kafka-tools ## what PARTITIONS=n idle partitions cost, and what becomes of them when a broker dies and when all start again
	$(STEP) cargo build --locked --release -p chronik-broker
	@bench/idle.py $(PARTITIONS)
