# The front door. `make help` lists what there is.
.DEFAULT_GOAL := help
.PHONY: help run test check bench lab fuzz judges llama-tests nightly clean

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-8s %s\n", $$1, $$2 }'

run: ## Install what is missing, build, fetch the embedded model, start
	@tools/run.sh

test: ## Install what tests need, then run all of them
	@tools/test.sh

check: ## The fast part: format, lints, types, unit tests
	@tools/test.sh --fast

bench: ## Measure the embedded model and Pilothouse's own cost
	@tools/bench.sh

lab: ## Hold a benchmark's figures against the server's clock and llama-bench; LAB_MODELS=all for more
	@tools/lab.sh

fuzz: ## Fuzz the parsers of foreign files, FUZZ_SECONDS (600) each
	@tools/fuzz.sh

judges: ## Let foreign clients and judges speak to the address (downloads their packages)
	@cargo build --quiet -p pilothouse-cli && variables="$$(tools/test-tools.sh)" && eval "$$variables" && tools/judges.sh

llama-tests: ## llama.cpp's own server tests, directly and through the address (downloads their source)
	@cargo build --quiet -p pilothouse-cli && variables="$$(tools/test-tools.sh)" && eval "$$variables" && tools/llama-tests.sh

nightly: ## Random sequences of switches and scenes, PILOTHOUSE_SEQUENCES (200000) of each
	PILOTHOUSE_SEQUENCES=$${PILOTHOUSE_SEQUENCES:-200000} cargo test -p pilothouse-engine --lib -- random

clean: ## Remove what was built (not the data, not the test cache)
	cargo clean
	rm -rf ui/dist artefacts node_modules
