# Hostile input: every decoder under random and mutated bytes. See docs/fuzzing.md.

.PHONY: fuzz fuzz-all fuzz-short

SECONDS_EACH = $(or $(SECONDS),60)

fuzz: ## run libFuzzer on TARGET=x for SECONDS=n (60); what it finds new joins the corpus
	@mk/fuzz.sh $(or $(TARGET),$(error TARGET=x names the target: one of `make fuzz-short`)) $(SECONDS_EACH)

fuzz-all: ## the same for every target, one after the other
	@mk/fuzz.sh all $(SECONDS_EACH)

fuzz-short: ## every target over its corpus and some mutations, without libFuzzer: what every test run does
	$(STEP) cargo test --locked --quiet $(UNIT) -p chronik-fuzz --test short -- --mutations 3000
