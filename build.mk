# SPDX-License-Identifier: MIT
# What every Makefile of the tree shares: where things go and how they are compiled.
# Variables a user may set: BUILD, CC, CXX, OPT, CFLAGS, LDFLAGS, SANITIZE, COVERAGE, V, PREFIX, DESTDIR.

.DEFAULT_GOAL := all

TOP := $(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))

# Instrumented objects must not meet others: each kind of build has its own folder. A relative BUILD is
# relative to the top of the tree, whichever Makefile reads it.
comma := ,
BUILD ?= build$(addprefix /,$(subst $(comma),-,$(SANITIZE)))$(if $(COVERAGE),/coverage)
override BUILD := $(if $(filter /%,$(BUILD)),$(BUILD),$(TOP)/$(BUILD))

VERSION := 0.1.0
SOVERSION := 0
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib

CC ?= cc
CXX ?= c++
AR ?= ar
OPT ?= -O2 -g
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
	-Wundef -Wvla -Wno-unused-parameter -Wno-address-of-packed-member
DEMI_CFLAGS := -std=gnu11 $(OPT) $(WARN) -Werror -D_GNU_SOURCE -fno-strict-aliasing \
	-I$(TOP)/include -I$(TOP)/include/uapi -I$(TOP)/lib -pthread
DEMI_LDFLAGS := -pthread

ifneq ($(SANITIZE),)
INSTRUMENT := -fsanitize=$(SANITIZE) -fno-omit-frame-pointer
# gcc warns that it does not see what a fence orders; what is published is published by atomics anyway.
ifneq ($(filter thread,$(subst $(comma), ,$(SANITIZE))),)
INSTRUMENT += $(if $(findstring clang,$(CC)),,-Wno-tsan)
endif
endif
ifneq ($(COVERAGE),)
INSTRUMENT += --coverage -O0 -DDEMI_COVERAGE
endif
DEMI_CFLAGS += $(INSTRUMENT)
DEMI_LDFLAGS += $(INSTRUMENT)

# Objects depend on this file, whose contents are the compiler and its flags: another CC or another flag
# compiles them again.
FLAGS_FILE := $(BUILD)/.flags
$(FLAGS_FILE): export DEMI_FLAGS := $(CC) $(CFLAGS) $(DEMI_CFLAGS) $(LDFLAGS)
$(FLAGS_FILE): force
	@mkdir -p $(@D)
	@printf '%s\n' "$$DEMI_FLAGS" | cmp -s - $@ || printf '%s\n' "$$DEMI_FLAGS" >$@

force:
.PHONY: force

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-7s %s\n'
endif
