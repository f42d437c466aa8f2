# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Completion for demictl: commands, the options that a command's --help lists, queues, devices, users, files.

_demictl_files() {
	mapfile -t COMPREPLY < <(compgen -f -- "$1")
	compopt -o filenames 2>/dev/null
}

_demictl() {
	local ctl=$1 cur=${COMP_WORDS[COMP_CWORD]} option=${COMP_WORDS[COMP_CWORD - 1]} words='' names name at=2
	COMPREPLY=()
	# readline splits --object=FILE into three words
	if [ "$cur" = = ]; then
		cur=
	elif [ "$option" = = ]; then
		option=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	names=$("$ctl" --help 2>/dev/null | sed -n 's/^  \([a-z]\+\( [a-z]\+\)\?\)  .*/\1/p')
	name=${COMP_WORDS[1]}
	if [ "$COMP_CWORD" = 1 ]; then
		words=$(cut -d ' ' -f 1 <<<"$names" | sort -u)
	elif [ "$COMP_CWORD" = 2 ] && grep -q "^$name " <<<"$names"; then
		words=$(sed -n "s/^$name //p" <<<"$names")
	else
		grep -q "^$name " <<<"$names" && name="$name ${COMP_WORDS[2]}" at=3
		if [[ $cur == -* ]]; then
			# shellcheck disable=SC2086 # one or two words
			words=$("$ctl" $name --help 2>/dev/null | grep -oE -- '--[a-z][a-z-]*=?' | sort -u)
		else
			case $option in
			--object | --pinned | -w | --write) _demictl_files "$cur" && return ;;
			-d | --direction) words="rx tx both" ;;
			--owner) words=$(compgen -u) ;;
			-*) ;;
			*) [ "$COMP_CWORD" = "$at" ] && words=$(_demictl_first "$ctl" "$name") ;;
			esac
			[ "$name $COMP_CWORD" = "grant 3" ] && words=$(compgen -u)
		fi
	fi
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
	[[ ${COMPREPLY[*]} != *= ]] || compopt -o nospace 2>/dev/null
}

# What a command's first argument can be: demictl, command
_demictl_first() {
	case $2 in
	"device show" | grant | revoke) "$1" device list 2>/dev/null | awk 'NR > 1 { print $2 }' ;;
	"device bind" | "device unbind") (cd /sys/bus/pci/devices 2>/dev/null && echo *) ;;
	"queue show" | filter\ * | capture) "$1" queue list 2>/dev/null | awk 'NR > 1 { print $1 }' ;;
	esac
}

complete -F _demictl demictl
