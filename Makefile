# Studio's two commands are `make run` and `make test`; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VERSION ?= $(shell git describe --always --dirty --tags 2>/dev/null || echo v0.0.0-unversioned)
kube := k8s.io/component-base/version

# One set of flags for everything: another set would compile Kubernetes again.
export GOFLAGS := $(strip $(filter-out -buildvcs=%,$(GOFLAGS)) -buildvcs=false)
export CGO_ENABLED := 1
export STUDIO_LDFLAGS := -s -w -X github.com/mlstudio/studio/version.Version=$(VERSION) \
  -X $(kube).gitVersion=v1.37.2 -X $(kube).gitMajor=1 -X $(kube).gitMinor=37

tool := go tool -modfile=$(CURDIR)/hack/tools/go.mod

##@ The two commands

run: build ## set up, build, start the embedded cluster and train examples/digits in it
	@hack/run

test: setup ## go vet and all tests beside the code
	@hack/compile ./...
	@echo "go vet ./..." && go vet ./...
	@go test -vet=off $(TESTFLAGS) ./...

##@ Building

setup: ## install the system packages that are missing (says what it runs)
	@hack/setup

build: setup ## build bin/studio, studiod, studio-platform, studio-shim and studio-agent
	@hack/build

generate: ## regenerate CRDs, RBAC and deep copies from the Go types
	@hack/generate

clean: ## delete what build made (the Go build cache stays)
	rm -rf bin

##@ Checking

lint: setup ## gofmt, go vet and staticcheck
	@hack/lint

race: setup ## the tests beside the code under the race detector, but for those that link Kubernetes
	@hack/race

verify: generate ## regenerate; fail when that changes a file
	@hack/verify

e2e: build ## the user's journey, isolation, bad input, Services, streams, exposed ports and an unchanged host, as root and as a plain user
	@hack/e2e 'Journey|Isolation|BadInput|Host|Services|Streams|Expose|Network'

guide: build ## type every command of the user's guide, as root and as a plain user
	@hack/e2e TestGuide ./docs/guide

e2e-crash: build ## kill -9 each part of the engine at 20 random moments of a run
	@hack/e2e 'Crash'

e2e-churn: build ## 500 pods created at once, 110 that run, 1000 one wave after the other (STUDIO_CHURN_PERCENT of them), an engine restart under 50
	@hack/e2e 'Churn'

##@ Conformance: upstream's tests against the embedded cluster, as root and as a plain user

.PHONY: run test setup build generate clean lint race verify e2e guide e2e-crash e2e-churn conformance conformance-full conformance-ci e2e-sync bench-up bench-pod bench-idle bench-run bench-sync bench-kine bench-net bench-pod-kind help
conformance: build ## the 427 specs that run side by side; FOCUS=regexp narrows
	@hack/conformance $(if $(FOCUS),-focus '$(FOCUS)')
conformance-full: build ## the 35 serial, slow and disruptive ones
	@hack/conformance -full $(if $(FOCUS),-focus '$(FOCUS)')
conformance-ci: build ## a part of a few minutes that has a spec of everything
	@hack/conformance -ci

e2e-sync: setup ## watching: trees of 100,000 files, a branch switch of 50,000, a minute's stop
	@STUDIO_SYNC_TESTS=1 go test -count=1 -timeout 20m -v -run 'Hundred|Branch|Stopped' ./sync/watch

##@ Benchmarks: one JSON object a line, each beside a peer measured in the same run

bench-up: build ## time until the cluster is ready / a bare kube-apiserver
	@hack/bench up
bench-pod: build ## a pod from create to Succeeded / creating and binding it without a node
	@hack/bench pod
bench-idle: build ## memory and processor of the idle platform / a bare kube-apiserver
	@hack/bench idle
bench-run: build ## a script's first line by studio run / by python
	@hack/bench run
bench-sync: build ## a saved file's event on the engine's stream / a bare inotify event
	@hack/bench sync
bench-kine: build ## a write that survives a power cut / one that survives a killed process
	@hack/bench kine
bench-net: build ## the pods' network: to a pod, a service and the host / two host processes over loopback
	@hack/bench net
.PHONY: run test setup build generate clean lint race verify e2e guide e2e-crash e2e-churn conformance conformance-full conformance-ci e2e-sync bench-up bench-pod bench-idle bench-run bench-sync bench-kine bench-net bench-pod-kind help
bench-pod-kind: build ## a pod from create to Succeeded / the same pod on a real kind cluster
	@hack/bench-pod-kind

help: ## show this list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run test setup build generate clean lint race verify e2e guide e2e-crash e2e-churn conformance conformance-full conformance-ci e2e-sync bench-up bench-pod bench-idle bench-run bench-sync bench-kine bench-net bench-pod-kind help
