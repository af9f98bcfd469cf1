# The node-in-a-box (real Kubernetes, three nodes) and Kafka's own tools. See docs/box.md.

.PHONY: box box-stop box-selftest kafka-tools

box: ## real Kubernetes with three nodes on this machine; needs root and Debian; kubeconfig: target/box/kubeconfig
	@e2e/box/install.sh
	@e2e/box/build.sh
	@e2e/box/images.sh
	@e2e/box/up.sh

box-stop: ## stop the box and remove its data; built programs stay
	@e2e/box/down.sh

box-selftest: box ## check that the box does what the scenarios ask of it
	@e2e/box/selftest.sh

kafka-tools: ## real Apache Kafka: jars in target/kafka/libs, tools in target/kafka/bin
	@e2e/kafka/install.sh
