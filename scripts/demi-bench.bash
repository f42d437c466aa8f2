# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Completion for demi-bench: commands, the options that a command's --help lists, the kinds of sides.

_demi_bench() {
	local cur=${COMP_WORDS[COMP_CWORD]} option=${COMP_WORDS[COMP_CWORD - 1]} words=
	COMPREPLY=()
	# readline splits --vs=KIND into three words
	if [ "$cur" = = ]; then
		cur=
	elif [ "$option" = = ]; then
		option=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	if [ "$COMP_CWORD" = 1 ]; then
		words=$("$1" --help 2>/dev/null | sed -n 's/^  \([a-z]*\)  .*/\1/p')
	elif [[ $cur == -* ]]; then
		words=$("$1" "${COMP_WORDS[1]}" --help 2>/dev/null | grep -oE -- '--[a-z][a-z-]*=?')
	else
		case $option in
		--vs | --as | --load) words=$("$1" "${COMP_WORDS[1]}" --help 2>/dev/null | sed -n 's/^KIND: //p') ;;
		--over) words="tcp udp unix pipe" ;;
		--device) words="ring dpdk virtio nvme" ;;
		*) mapfile -t COMPREPLY < <(compgen -f -- "$cur") && return ;;
		esac
	fi
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
	[[ ${COMPREPLY[*]} != *= ]] || compopt -o nospace 2>/dev/null
}
complete -F _demi_bench demi-bench
