#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The manual, the headers, the symbol map and the library name the same functions.

command -v mandoc >/dev/null || { echo "no mandoc" && exit 77; }
../scripts/check-man && ../scripts/check-symbols
