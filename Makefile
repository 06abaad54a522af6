.PHONY: help demo test lint image e2e bench clean

help: ## Lists these targets
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "%-8s %s\n", $$1, $$2 }' Makefile

demo: ## Shows the whole flow on this machine: train, skip, change, train again
	scripts/demo

test: ## Runs all tests, exactly as CI does
	scripts/test

lint: ## Runs the checks that start no server
	scripts/setup lint
	scripts/test fmt clippy clippy-stub doc lint-files lint-dependencies

image: ## Builds the action's image, ml-cache-action:dev
	scripts/with-docker scripts/image

e2e: ## Runs the workflows of tests/e2e in the shipped image
	scripts/e2e

bench: ## Measures beside other tools and writes docs/benchmarks.md; PART=save runs one part
	scripts/bench $(PART)

clean: ## Removes what was built; tools and images in the lab directory stay
	cargo clean
