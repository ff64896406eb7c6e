# PagingKit: what to type. `make` lists the targets.
SWIFT ?= swift
PREFIX ?= /usr/local
DESTDIR ?=

PACKAGES := libffi-dev zlib1g-dev liblzma-dev libzstd-dev pkg-config gcc make xz-utils
BACK_ENDS := x86 RISCV Elbrus toy32
HEADER := Sources/CPagingKit/include/paging_plugin.h
# Tests are built as a release with testable modules. Other flags, so another folder: neither build undoes the other.
TEST_FLAGS := -c release -Xswiftc -enable-testing --scratch-path .build-test

release_folder = $(shell $(SWIFT) build -c release --show-bin-path)
test_folder = $(shell $(SWIFT) build $(TEST_FLAGS) --show-bin-path)

help:
	@echo "make demo             build, then compare every architecture on the bundled trace"
	@echo "make build            the program and its back ends, optimised"
	@echo "make test             check the header, build everything, run all tests"
	@echo "make nightly          the same with larger random tests, and with each rule broken in turn"
	@echo "make bench            throughput against the C floor, measured in turns"
	@echo "make bench-floor      the floor alone"
	@echo "make install          into PREFIX=$(PREFIX), below DESTDIR if given; make uninstall takes it back"
	@echo "make deps             the Debian packages that are needed and missing"
	@echo "make clean            remove what was built"

# ---- Tools and libraries

# Asks the network only if something is missing.
deps:
	@command -v $(SWIFT) >/dev/null || { echo "make: Swift 6.3 is needed and '$(SWIFT)' was not found; see swift.org/install" >&2; exit 1; }
	@if ! command -v dpkg >/dev/null; then \
	  echo "make: not a Debian system; needed are: $(PACKAGES)"; exit 0; fi; \
	missing=; for package in $(PACKAGES); do \
	  dpkg -s $$package 2>/dev/null | grep -q '^Status: install ok installed' || missing="$$missing $$package"; done; \
	if [ -n "$$missing" ]; then \
	  echo "Installing$$missing"; \
	  root=; [ "$$(id -u)" = 0 ] || root=sudo; \
	  $$root apt-get update -qq && $$root apt-get install -y -qq --no-install-recommends $$missing; fi

# ---- Building

build: deps toy32
	$(SWIFT) build -c release
	@cp -f Plugins/toy32/libArch-toy32.so "$(release_folder)"

toy32:
	@$(MAKE) --no-print-directory -C Plugins/toy32

demo: build
	@"$(release_folder)/paging" compare

# ---- Testing

# The header is read as C and as C++ by whatever compilers are there, with nothing but itself.
check-header:
	@for compiler in gcc clang; do command -v $$compiler >/dev/null || continue; \
	  $$compiler -std=c11 -Wall -Wextra -pedantic -Werror -fsyntax-only -x c $(HEADER) || exit 1; done
	@for compiler in g++ clang++; do command -v $$compiler >/dev/null || continue; \
	  $$compiler -std=c++17 -Wall -Wextra -pedantic -Werror -fsyntax-only -x c++ $(HEADER) || exit 1; done

# The last lines are those of `swift test`.
test: deps check-header toy32
	$(SWIFT) build $(TEST_FLAGS) --build-tests
	@cp -f Plugins/toy32/libArch-toy32.so "$(test_folder)"
	$(SWIFT) test $(TEST_FLAGS) --skip-build

nightly:
	NIGHTLY=1 $(MAKE) --no-print-directory test
	$(MAKE) --no-print-directory break-rules

# Every back end that has a list of rules to break, in a copy of the sources.
break-rules:
	@status=0; for list in Tests/*/broken-rules.txt; do \
	  folder=$${list%/*}; folder=$${folder##*/}; Tests/break-rules "$${folder%Tests}" || status=1; done; exit $$status

# ---- Measuring

floor: deps
	@$(MAKE) --no-print-directory -C Benchmarks/floor

bench-floor: floor
	@Benchmarks/floor/.build/paging-floor

bench: build floor
	@cp -f Benchmarks/floor/.build/libpaging-floor.so "$(release_folder)"
	@"$(release_folder)/paging" bench

# ---- Installing

BIN = $(DESTDIR)$(PREFIX)/bin
LIB = $(DESTDIR)$(PREFIX)/lib/pagingkit
INCLUDE = $(DESTDIR)$(PREFIX)/include
SHARE = $(DESTDIR)$(PREFIX)/share/pagingkit

# The program looks for back ends in ../lib/pagingkit from where it lies, and for Swift's own libraries in the toolchain
# that built it.
install: build
	install -d "$(BIN)" "$(LIB)" "$(INCLUDE)" "$(SHARE)"
	install -m 755 "$(release_folder)/paging" "$(BIN)/paging"
	for name in $(BACK_ENDS); do install -m 755 "$(release_folder)/libArch-$$name.so" "$(LIB)/" || exit 1; done
	install -m 644 $(HEADER) "$(INCLUDE)/"
	for folder in Workloads Profiles; do rm -rf "$(SHARE)/$$folder" && cp -R $$folder "$(SHARE)/" || exit 1; done

uninstall:
	rm -f "$(BIN)/paging" "$(INCLUDE)/paging_plugin.h"
	for name in $(BACK_ENDS); do rm -f "$(LIB)/libArch-$$name.so"; done
	rm -rf "$(SHARE)/Workloads" "$(SHARE)/Profiles"
	-rmdir "$(LIB)" "$(SHARE)" 2>/dev/null

clean:
	rm -rf .build .build-test
	@$(MAKE) --no-print-directory -C Plugins/toy32 clean
	@$(MAKE) --no-print-directory -C Benchmarks/floor clean

.PHONY: help deps build toy32 demo check-header test nightly break-rules floor bench-floor bench install uninstall clean
