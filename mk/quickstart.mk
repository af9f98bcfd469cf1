# From nothing to three brokers on a real Kubernetes and a Topic whose status names the ISR of each partition.

.PHONY: quickstart

ifndef KUBECONTEXT
quickstart: kafka-tools box ## build, start the box, install Chronik, create a cluster and a topic, restart its brokers while you watch
	$(STEP) cargo build --locked --release -p chronik-broker -p chronik-controller -p chronik-cli
	@mk/quickstart.sh
else
quickstart: ## with KUBECONTEXT=name IMAGE=repository:tag: the same on a Kubernetes of yours, without building anything
	@mk/quickstart-existing.sh '$(KUBECONTEXT)' '$(IMAGE)'
endif
