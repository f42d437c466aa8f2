# SPDX-License-Identifier: MIT
# The top Makefile only delegates.

include build.mk

all: lib

lib:
	+$(Q)$(MAKE) --no-print-directory -C lib

clean:
	rm -rf $(BUILD)

.PHONY: all lib clean
