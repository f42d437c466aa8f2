# SPDX-License-Identifier: MIT
# The top Makefile only delegates. `make help` says what there is.

include build.mk

# What make was not told about parallel jobs it is told here.
PAR = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))
SUB = +$(Q)$(MAKE) --no-print-directory $(PAR)
deps = $(Q)$(if $(filter no,$(DEPS)),:,scripts/deps) $(1)
folder_if = $(if $(wildcard $(1)/Makefile),$(1))

## all: the library, the tools and the samples, into BUILD (default build/)
all: lib tools samples

lib:
	$(SUB) -C lib

tools: lib
	$(if $(call folder_if,tools),$(SUB) -C tools)

samples: lib
	$(if $(call folder_if,samples),$(SUB) -C samples)

## demo: echo through libdemi beside plain sockets, then over demi.ko in a virtual machine (HERE=1: on this one)
demo:
	$(call deps,build demo)
	$(SUB) all
	$(Q)BUILD=$(BUILD) HERE=$(HERE) scripts/demo

## check: build and run every test, also under sanitizers and valgrind; T=name runs one
check:
	$(call deps,build check)
	$(SUB) check-build SETS="$(SETS)"
	$(Q)selftests/run $(addprefix -k ,$(T)) $(foreach s,$(SETS),$(s)=$(BUILD_$(s)))

# The kinds of builds that tests run in. One test is run in the plain build unless SETS says more.
# The module's tests are first: they take longest.
T_KMOD := $(if $(T),$(wildcard $(addprefix selftests/kmod/$(notdir $(T)),.c .sh)))
T_VIRTIO := $(if $(T),$(wildcard $(addprefix selftests/virtio/$(notdir $(T)),.c .sh)))
T_NVME := $(if $(T),$(wildcard $(addprefix selftests/nvme/$(notdir $(T)),.c .sh)))
T_FUZZ := $(if $(T),$(wildcard selftests/fuzz/$(notdir $(T)).c))
KMOD_SETS := kmod-6.1 kmod-6.12 virtio-6.1 virtio-6.12 nvme-6.1 nvme-6.12
T_SET = $(if $(T_KMOD),kmod-6.1,$(if $(T_VIRTIO),virtio-6.1,$(if $(T_NVME),nvme-6.1,$(if $(T_FUZZ),fuzz,native))))
SETS ?= $(if $(T),$(T_SET),$(KMOD_SETS) native asan fuzz tsan valgrind)
BUILD_native := $(BUILD)
BUILD_valgrind := $(BUILD)
BUILD_fuzz := $(BUILD)
BUILD_asan := $(BUILD)/address-undefined
BUILD_tsan := $(BUILD)/thread
$(foreach s,$(filter kmod-% virtio-% nvme-%,$(SETS)),$(eval BUILD_$(s) := $(BUILD)))

check-build: $(if $(filter native valgrind,$(SETS)),all) $(filter-out check-build-native check-build-valgrind,$(SETS:%=check-build-%))
	$(if $(filter native valgrind,$(SETS)),$(SUB) -C selftests)

check-build-asan: SANITIZE_FOR := address,undefined
check-build-tsan: SANITIZE_FOR := thread
check-build-asan check-build-tsan: check-build-%:
	$(SUB) -C lib BUILD=$(BUILD_$*) SANITIZE=$(SANITIZE_FOR)
	$(SUB) -C selftests BUILD=$(BUILD_$*) SANITIZE=$(SANITIZE_FOR)

check-build-fuzz:
	$(SUB) -C selftests/fuzz BUILD=$(BUILD)/fuzz

# The module as tests want it: with the mock devices.
check-build-kmod-%: check-build-kmod
	$(SUB) -C kmod KERNEL=$* DEMI_DEBUG=1

check-build-virtio-%: check-build-virtio check-build-kmod-%
	@:

check-build-virtio: tools check-build-kmod
	$(SUB) -C selftests/virtio

check-build-nvme-%: check-build-nvme check-build-kmod-%
	@:

check-build-nvme: tools check-build-kmod
	$(SUB) -C selftests/nvme

check-build-kmod: lib
	$(SUB) -C selftests/kmod
	$(if $(filter kmod-6.1,$(SETS)),$(SUB) -C selftests)

## check-debug: the modules' tests on the debug kernel (KASAN, lockdep, kmemleak …)
check-debug:
	$(SUB) check SETS="kmod-debug virtio-debug nvme-debug"

## fuzz: run the fuzz targets for TIME seconds each (600), T=target only one; BUILD/fuzz/found keeps what they find
fuzz:
	$(call deps,build check)
	$(SUB) check-build-fuzz
	$(Q)BUILD=$(BUILD) selftests/fuzz/run -t $(or $(TIME),600) -k $(BUILD)/fuzz/found $(T)

## bench: measure, print a table and write BUILD/figures.json
bench:
	$(call deps,build check bench)
	$(SUB) all check-build-fuzz
	$(Q)BUILD=$(BUILD) scripts/bench

## lint: format, static analysis, spelling, shell scripts, symbols against headers and man pages
lint:
	$(call deps,build lint)
	$(SUB) lib
	$(Q)BUILD=$(BUILD) scripts/lint

## coverage: run the tests with gcov; fails under 85 % of the lines of lib/
coverage:
	$(call deps,build check coverage)
	$(SUB) -C lib BUILD=$(BUILD)/coverage COVERAGE=1
	$(SUB) -C selftests BUILD=$(BUILD)/coverage COVERAGE=1
	$(Q)scripts/coverage $(BUILD)/coverage

## modules: demi.ko into BUILD/kmod/KERNEL (KERNEL=running, 6.1, 6.12 or debug)
modules:
	$(SUB) -C kmod

## modules_install: demi.ko below INSTALL_MOD_PATH
modules_install:
	$(SUB) -C kmod install

## dkms-source: what dkms builds demi.ko from, below DESTDIR/usr/src
dkms-source:
	$(Q)scripts/dkms-source "$(DESTDIR)/usr/src/demi-$(VERSION)"

## install: below DESTDIR and PREFIX (default /usr/local)
install: all
	$(Q)BUILD=$(BUILD) PREFIX=$(PREFIX) LIBDIR=$(LIBDIR) DESTDIR=$(DESTDIR) VERSION=$(VERSION) SOVERSION=$(SOVERSION) \
		scripts/install

## uninstall: remove exactly what install put there
uninstall:
	$(Q)BUILD=$(BUILD) PREFIX=$(PREFIX) LIBDIR=$(LIBDIR) DESTDIR=$(DESTDIR) VERSION=$(VERSION) SOVERSION=$(SOVERSION) \
		scripts/install --remove

## clean: remove BUILD
clean:
	rm -rf $(BUILD)

## help: this list
help:
	@sed -n 's/^## \([a-z_-]*\): /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r t d; do \
		printf '  make %-15s %s\n' "$$t" "$$d"; done
	@echo '  Variables: BUILD= CC= V=1 SANITIZE=address,undefined|thread T=test TIME= KERNEL= DEPS=no PREFIX= DESTDIR='

.PHONY: all lib tools samples demo check check-debug check-build check-build-asan check-build-tsan \
	check-build-fuzz check-build-kmod fuzz bench lint coverage modules \
	modules_install dkms-source install uninstall clean help
