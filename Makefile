# SPDX-License-Identifier: Apache-2.0
# vTPM proxy. `make help` lists what there is; everything that is built lands in build/.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

VERSION := $(shell sed -n 's/^project.vtpm VERSION \([0-9.]*\).*/\1/p' daemon/CMakeLists.txt)
BUILD := build
KERNELS := 6.1 6.12
JOBS ?= $(shell nproc)

PREFIX ?= /usr
SYSCONFDIR ?= /etc
DESTDIR ?=

RELEASE := $(BUILD)/release
ASAN := $(BUILD)/asan
MODULES := $(KERNELS:%=$(BUILD)/kernel/%/vtpm.ko)
KSFT := $(BUILD)/linux-source-6.12/tools/testing/selftests

include selftests/packages.mk

.DEFAULT_GOAL := all
.PHONY: all help
all: daemon modules ## build everything

help: ## this list
	@awk -F':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

# ---------------------------------------------------------------- what the build needs
.PHONY: deps
deps: ## install the Debian packages that build and tests need (root)
	@selftests/install-packages $(PACKAGES)

# ---------------------------------------------------------------- user space
.PHONY: daemon
daemon: $(RELEASE)/build.ninja ## build vtpmd, vtpm-engine, vtpmctl and the programs that test them
	@ninja -C $(RELEASE) -j$(JOBS) vtpmd vtpm-engine vtpmctl selftests/all

$(RELEASE)/build.ninja: daemon/CMakeLists.txt | deps
	cmake -S daemon -B $(RELEASE) -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo

# By clang, which compiles with the sanitizers in half of the time that g++ takes.
$(ASAN)/build.ninja: daemon/CMakeLists.txt | deps
	cmake -S daemon -B $(ASAN) -G Ninja -DCMAKE_BUILD_TYPE=Debug -DVTPM_SANITIZE=ON \
		-DCMAKE_C_COMPILER=clang-19 -DCMAKE_CXX_COMPILER=clang++-19

$(BUILD)/fuzz/build.ninja: daemon/CMakeLists.txt | deps
	cmake -S daemon -B $(BUILD)/fuzz -G Ninja -DVTPM_FUZZ=ON -DCMAKE_BUILD_TYPE=None \
		-DCMAKE_C_COMPILER=clang-19 -DCMAKE_CXX_COMPILER=clang++-19

# ---------------------------------------------------------------- kernel module
KERNEL_SOURCES := $(shell find kernel uapi -type f)

.PHONY: modules
modules: $(MODULES) ## build vtpm.ko for Debian's 6.1 and 6.12 kernels

$(BUILD)/kernel/%/vtpm.ko: $(KERNEL_SOURCES) | deps
	selftests/build-module $* $(@D)

# ---------------------------------------------------------------- checks
.PHONY: check check-lint check-unit check-fuzz check-kernel check-native check-guest check-debug tidy
check: ## every test: lints, unit tests, kernel selftests, conformance (the whole thing)
	@$(MAKE) deps
	@selftests/check $(if $(ONLY),--only $(ONLY))

check-lint: ## import direction, licenses, words, formatting, man pages, shell
	@selftests/check --only lint
tidy: daemon ## clang-tidy over all of the user-space code, with the static analyzer (check leaves out both that and gRPC)
	@selftests/tidy $(RELEASE) --all
check-unit: ## unit tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@selftests/check --only unit
check-fuzz: ## every fuzzer for a fixed number of executions
	@selftests/check --only fuzz
check-kernel: ## W=1, sparse, checkpatch and the compile tests of the module
	@selftests/check --only kernel
check-native: ## conformance of socket nodes, without a kernel
	@selftests/check --only native
check-guest: ## kernel selftests and conformance in both guests
	@selftests/check --only guest
check-debug: daemon ## kernel selftests under KASAN, lockdep, kmemleak and failing allocations
	@VTPM_BUILD=$(RELEASE) selftests/debug/check

.PHONY: fuzz fuzzers
fuzzers: $(BUILD)/fuzz/build.ninja
	@ninja -C $(BUILD)/fuzz -j$(JOBS) fuzzers
fuzz: fuzzers ## fuzz what parses hostile bytes, SECONDS (60) for each target; findings in build/fuzz/crashes
	@selftests/fuzz/run --seconds $(or $(SECONDS),60) $(TARGETS)

.PHONY: chaos
chaos: daemon $(BUILD)/kernel/6.12/vtpm.ko ## kill workers, fork server and vtpmd 1,000 times under working clients
	@selftests/guest/run --kernel 6.12 --timeout 3600 --module $(BUILD)/kernel/6.12/vtpm.ko \
		--env VTPM_BUILD=$(RELEASE) selftests/chaos/chaos --kills $(or $(KILLS),1000)

.PHONY: read-only
read-only: daemon $(BUILD)/kernel/6.12/vtpm.ko ## read-only mode on kernel nodes, with 200 devices of one template (DEVICES), and death at each point of a switch
	@selftests/guest/run --kernel 6.12 --timeout 3600 --module $(BUILD)/kernel/6.12/vtpm.ko \
		--env VTPM_BUILD=$(RELEASE) selftests/read-only/run --kernel --devices $(or $(DEVICES),200)
	@selftests/guest/run --kernel 6.12 --timeout 3600 --module $(BUILD)/kernel/6.12/vtpm.ko \
		--env VTPM_BUILD=$(RELEASE) selftests/read-only/deaths --kernel

.PHONY: scale
scale: daemon $(BUILD)/kernel/6.12/vtpm.ko ## 300 devices in use of which 20 may have a process (DEVICES, ACTIVE, COMMANDS)
	@selftests/guest/run --kernel 6.12 --timeout 3600 --module $(BUILD)/kernel/6.12/vtpm.ko \
		--env VTPM_BUILD=$(RELEASE) selftests/guest-tests/many-devices --devices $(or $(DEVICES),300) \
		--active $(or $(ACTIVE),20) --commands $(or $(COMMANDS),600)

# ---------------------------------------------------------------- show and measure
.PHONY: demo guest bench
demo: daemon $(BUILD)/kernel/6.12/vtpm.ko ## show the main job: two containers, a read-write and a read-only TPM
	@selftests/guest/run --kernel 6.12 --timeout 900 --module $(BUILD)/kernel/6.12/vtpm.ko \
		--env VTPM_BUILD=$(RELEASE) selftests/demo

guest: daemon $(BUILD)/kernel/6.12/vtpm.ko ## a root shell in a guest with the module loaded
	@selftests/guest/run --kernel 6.12 --module $(BUILD)/kernel/6.12/vtpm.ko --shell

bench: daemon $(BUILD)/kernel/6.12/vtpm.ko ## measure against tpm_vtpm_proxy + swtpm and the floors, in a guest and here (BENCH='pace storm --devices 1000')
	@selftests/bench/run $(BENCH)

# ---------------------------------------------------------------- install
.PHONY: install install-module uninstall clean
install: install-module ## install vtpmd, vtpmctl, unit, man pages; the module by DKMS (root)
	selftests/install --destdir "$(DESTDIR)" --prefix "$(PREFIX)" --sysconfdir "$(SYSCONFDIR)" --build "$(RELEASE)"

install-module: daemon
	selftests/install --module --destdir "$(DESTDIR)" --version "$(VERSION)"

uninstall: ## take away what install put there; state in /var/lib/vtpm stays
	selftests/install --uninstall --destdir "$(DESTDIR)" --prefix "$(PREFIX)" --sysconfdir "$(SYSCONFDIR)" --version "$(VERSION)"

clean: ## remove build/
	rm -rf $(BUILD)
