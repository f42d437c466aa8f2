# SPDX-License-Identifier: MIT
# What every Makefile of the tree shares: where things go and how they are compiled.
# Variables a user may set: BUILD, CC, SANITIZE, COVERAGE, V, PREFIX, DESTDIR.

TOP := $(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))
BUILD ?= $(TOP)/build
override BUILD := $(abspath $(BUILD))

VERSION := 0.1.0
SOVERSION := 0
PREFIX ?= /usr/local

CC ?= cc
AR ?= ar
OPT ?= -O2 -g
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
	-Wundef -Wvla -Wno-unused-parameter -Wno-address-of-packed-member
DEMI_CFLAGS := -std=gnu11 $(OPT) $(WARN) -Werror -D_GNU_SOURCE -fno-strict-aliasing \
	-I$(TOP)/include -I$(TOP)/lib -pthread
DEMI_LDFLAGS := -pthread

ifdef SANITIZE
DEMI_CFLAGS += -fsanitize=$(SANITIZE) -fno-omit-frame-pointer
DEMI_LDFLAGS += -fsanitize=$(SANITIZE)
endif
ifdef COVERAGE
DEMI_CFLAGS += --coverage -O0
DEMI_LDFLAGS += --coverage
endif

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-7s %s\n'
endif
