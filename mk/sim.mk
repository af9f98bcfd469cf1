# The deterministic simulation. See docs/simulation.md.

.PHONY: sim sim-short sim-mutations

SEEDS ?= 10000

sim: ## simulate SEEDS=n clusters from seeds, or replay one with SEED=x
	$(STEP) cargo build --locked --profile sim -p chronik-sim
ifdef SEED
	@target/sim/chronik-sim --seed $(SEED)
else
	$(STEP) target/sim/chronik-sim --seeds $(SEEDS)
endif

sim-short: ## 200 of them: what every test run does
	$(STEP) cargo test --locked --profile sim -p chronik-sim
	$(STEP) cargo build --locked --profile sim -p chronik-sim
	$(STEP) target/sim/chronik-sim --seeds 200


sim-mutations: ## break the product in known ways, one at a time, and see that the simulation notices
	@mk/sim-mutations.sh $(MUTATION)
