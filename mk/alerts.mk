# The alerts of the chart, tested by Prometheus' own promtool.

.PHONY: alerts

alerts: ## check and test the chart's alerts with promtool, which is built from source first
	$(STEP) mk/alerts.sh
