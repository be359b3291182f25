# Everything a contributor or CI runs. `make` alone lists it.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# The linters are pinned in tools/go.mod, compiled once, and kept in Go's build cache.
tool := go tool -modfile=tools/go.mod

# Which packages `make test` tests, and further flags: make test PKG=./socket ARGS='-run Settle -v'
PKG  ?= ./...
ARGS ?=
# How long each fuzz target runs in `make fuzz`.
FUZZTIME ?= 10s

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## bin/superctl
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -buildvcs=auto -o bin/superctl .

# Where it goes: one package only, so that bin/superctl_*.deb is the one that was just made.
DEBS ?= bin
# deb, or rpm for Fedora and RHEL
FORMAT ?= deb
# The version of the package: that of the program, unless a test wants another.
VERSION ?= $$(bin/superctl version | cut -d ' ' -f 3)
.PHONY: deb
deb: build ## a package for Debian and Ubuntu in bin/
	mkdir -p $(DEBS) && rm -f $(DEBS)/superctl[-_]*.$(FORMAT)
	bin/superctl __man | gzip -9n >bin/superctl.8.gz
	VERSION="$(VERSION)" ARCH=$$(go env GOARCH) BUILT=bin tools/nfpm package --config packaging/nfpm.yaml --packager $(FORMAT) --target $(DEBS)/

.PHONY: dist
dist: ## all files of a release, for amd64 and arm64, in bin/dist: packages, archives, wheels, SBOM, checksums
	@tools/dist

.PHONY: demo
demo: ## build superctl and show it on a small Django site, under load; installs Python, gunicorn and Django
	@scripts/demo

.PHONY: test
test: deps ## all tests; installs what they need. PKG=units: of the Go code, with the race detector; PKG=e2e: on real sites
	@tools/test $(ARGS) $(PKG)

# How many seeds the simulator plays, and from which one on: make simulate SEEDS=1000 FIRST=5001
SEEDS ?= 10000
FIRST ?= 1
.PHONY: simulate
simulate: ## the whole supervisor in virtual time under faults and deaths, SEEDS=10000 runs; SEED=17 shows one
	SEEDS=$(SEEDS) FIRST=$(FIRST) go test -count=1 -timeout 120m -run 'TestSimulation$$' -v ./supervisor

.PHONY: guard
guard: ## simulated releases for the guard, 10,000 a cell; writes the tables of bench/GUARD.md. RUNS=1000 for fewer
	GUARD_RUNS=$${RUNS:-10000} GUARD_REPORT=$(CURDIR)/bench/GUARD.md go test -count=1 -timeout 120m -run 'IsNotReverted|IsFound' ./supervisor/guard

.PHONY: mutants
mutants: ## break the supervisor on purpose, and see whether the simulator finds it; writes tools/mutants/RESULT.md
	go -C tools run ./mutants

# trixie: systemd 257, bookworm-backports: 254, bookworm: 252.
SUITE ?= trixie
.PHONY: test-systemd
test-systemd: ## the tests on real systemd, with another one than this machine's; SUITE=bookworm-backports for 254, ABOUT="socket start" for some
	@tools/test-systemd $(SUITE) $(ABOUT:%=e2e/systemd/%)

.PHONY: test-deaths
test-deaths: deps ## the daemon dies at all points of all scenarios, the operator and the cables at all steps; `make test` has each kind once
	SUPERCTL_E2E_POINTS=all SEEDS=$${SEEDS:-100} tools/test \
		-run 'TestADaemonThatDiesAtAnyPoint|AtAnyStepIsOvercome|TestRandomRunsOfRealDaemons' $(ARGS) ./e2e/site ./e2e/fleet

.PHONY: takeovers
takeovers: deps ## every kind of server is taken over twenty times under load, and killed at each step; SUPERCTL_TAKEOVERS=5 for fewer
	SUPERCTL_TAKEOVERS=$${SUPERCTL_TAKEOVERS:-20} tools/test -timeout 90m $(ARGS) ./e2e/takeover ./e2e/oldserver

.PHONY: test-guard
test-guard: deps ## the guard takes back a bad release 20 times, and leaves a good one with a hiccup 200 times; SUPERCTL_GUARDS=5 for 5 and 50
	SUPERCTL_GUARDS=$${SUPERCTL_GUARDS:-20} tools/test -timeout 120m -run 'IsTakenBack|OutlivesAHiccup' $(ARGS) ./e2e/site

.PHONY: test-assets
test-assets: deps ## pages of three releases find their static files through nginx, in 20 rounds of changes; SUPERCTL_ASSETS=5 for fewer
	SUPERCTL_ASSETS=$${SUPERCTL_ASSETS:-20} tools/test -run TestEveryPageFindsItsStaticFiles $(ARGS) ./e2e/site

.PHONY: test-recycle
test-recycle: deps ## leaking workers are recycled 200 times under load; SUPERCTL_RECYCLES=20 for fewer
	SUPERCTL_RECYCLES=$${SUPERCTL_RECYCLES:-200} tools/test -timeout 60m -run 'ALeakingWorkerIsRecycled' $(ARGS) ./e2e/site

.PHONY: test-queues
test-queues: deps ## workers of eight task queues are switched 12 times, and killed when drain is over; SUPERCTL_QUEUES=3 for fewer
	SUPERCTL_QUEUES=$${SUPERCTL_QUEUES:-12} tools/test -timeout 60m -run 'OfAQueue|OutlastsDrain|TestNoTaskIsLostOrRunTwice' $(ARGS) ./e2e/site

.PHONY: test-moving
test-moving: deps ## each tutorial on Debian 12 and 13; `make test` follows those of docs/moving-in on one of them
	SUPERCTL_E2E_SUITES=all tools/test -run 'TestMovingInLosesNoRequest|TestFollowingADocumentGivesASite' $(ARGS) ./e2e/packaging

.PHONY: hook
hook: ## build the drain hook's part in C; ARGS=--check compares it with what is committed. Installs a pinned compiler
	@supervisor/drainhook/native/build $(ARGS)

.PHONY: test-hook
test-hook: deps ## every server with all of the drain hook in Python too, and 100,000 random requests in both; `make test` has three servers
	SUPERCTL_HOOK_SEEDS=100000 tools/test -run 'TestPythonAndC' $(ARGS) ./supervisor/drainhook
	SUPERCTL_HOOK_PARTS=all tools/test -timeout 60m -run 'IsCounted|AreCounted|TheDrainHookChangesOnly' $(ARGS) ./e2e/site

.PHONY: test-pythons
test-pythons: deps ## the drain hook and its counting on a free-threaded CPython and on one with musl, which it builds once
	@tools/test-pythons $(ARGS)

.PHONY: deps
deps: ## install what tests, demo and benchmarks need in addition to Go
	@scripts/deps >/dev/null

.PHONY: check
check: check-lint check-types check-modules check-generated check-shell check-workflows check-client docs ## everything that can be checked without running the code; exactly what CI runs
	@echo "check: ok"

# go vet, staticcheck, gofumpt and the import arrows are all in .golangci.yml.
.PHONY: check-lint
check-lint:
	$(tool) golangci-lint run ./...

.PHONY: check-types
check-types:
	@go run -C tools ./figures -check $(CURDIR)

.PHONY: format
format: ## format all Go files
	$(tool) golangci-lint fmt ./...

.PHONY: figures
figures: ## how the code is built: the largest type, long functions and lines, comments, tests; DIR=../other for another tree
	@go run -C tools ./figures $(abspath $(or $(DIR),.))

.PHONY: check-modules
check-modules:
	go mod tidy -diff

.PHONY: check-client
check-client: # the client for several hosts also builds for systems without a daemon
	CGO_ENABLED=0 GOOS=darwin go build -trimpath -o /dev/null . # the options of tools/dist, which builds it too

.PHONY: check-generated
check-generated:
	@tools/check-generated

.PHONY: check-shell
check-shell:
	@tools/check-shell

# Not a tool of tools/go.mod: golangci-lint needs another version of its YAML parser.
.PHONY: check-workflows
check-workflows:
	go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12 .github/workflows/*.yml packaging/ci/github.yml
	"$$(scripts/deps --gitlab | tail -1)"/bin/check-jsonschema --quiet --builtin-schema vendor.gitlab-ci packaging/ci/gitlab.yml

.PHONY: docs
docs: ## the documents as a site in bin/site/html; a broken link is an error
	@tools/site/build

.PHONY: screens
screens: ## record the terminal screens and the page of README and docs from real runs, and draw them: docs/images
	go run ./e2e/screens
	SUPERCTL_WEB_PICTURES=$(CURDIR)/docs/images go test -count=1 -run 'TestThePageShowsASwitchAndARevert' ./e2e/web
	"$$(scripts/deps --docs | tail -1)/bin/python" tools/site/screens

.PHONY: vulnerabilities
vulnerabilities: ## known vulnerabilities that the code can reach (needs a network; CI runs it on a schedule)
	$(tool) govulncheck ./...

.PHONY: fuzz
fuzz: ## every fuzz target for ten seconds; FUZZTIME=1m for longer
	@tools/fuzz $(FUZZTIME)

.PHONY: bench
bench: deps ## single figures of superctl; writes bench/RESULTS.md
	go run ./bench $(ARGS)

.PHONY: bench-many
bench-many: ## a thousand workers: status, memory and idle cost of the daemon; writes bench/MANY.md
	go run ./bench many

.PHONY: compare
compare: deps ## superctl compared with other tools, 20 minutes; writes bench/COMPARISON.md and plots. ARGS='-run gunicorn -switches 1' for less
	go run ./bench compare $(ARGS)

.PHONY: bench-bundles
bench-bundles: deps ## how long a release takes to a server, compared with pip, uv, pex and shiv; writes bench/BUNDLES.md
	go run ./bench/bundles

.PHONY: soak
soak: deps ## ten minutes of load, switches and kills: nothing may be lost, nothing may grow
	SUPERCTL_SOAK=$${SUPERCTL_SOAK:-10m} go test -tags soak -race -count=1 -timeout 60m -run Soak -v ./e2e/systemd $(ARGS)

.PHONY: switches
switches: deps ## a hundred switches of every server on every kind of socket under a mixed load; writes docs/switches.md; SUPERCTL_SWITCHES=10 for fewer
	SUPERCTL_SWITCHES=$${SUPERCTL_SWITCHES:-100} SUPERCTL_SWITCHES_TABLE=$(CURDIR)/docs/switches.md SUPERCTL_SWITCHES_COMMIT=$$(git describe --always --dirty) go test -count=1 -timeout 300m -parallel 4 -run 'TestAMixedLoad' -v ./e2e/site $(ARGS)

.PHONY: clean
clean: ## remove what was built
	rm -rf bin cover.out
