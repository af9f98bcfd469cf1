# What is shown on a real Kubernetes: the chart, the operator, and whole scenarios with nodes that die.

.PHONY: scenarios

scenarios: kafka-tools ## chart, operator and scenarios on a fresh box of three nodes; stops the box at the end
	@e2e/box/install.sh
	@e2e/box/build.sh
	@e2e/box/images.sh
	@mk/scenarios.sh
