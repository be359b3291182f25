# bash completion for superctl: /usr/share/bash-completion/completions/superctl
_superctl() {
	local IFS=$'\n' cur=${COMP_WORDS[COMP_CWORD]}
	# bash takes = for a word of its own: superctl scale web=4
	[[ $cur == = || ${COMP_WORDS[COMP_CWORD - 1]} == = ]] && return
	# shellcheck disable=SC2207 # one word a line
	COMPREPLY=($("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
	[[ ${#COMPREPLY[@]} -ne 1 || ${COMPREPLY[0]} != *= ]] || compopt -o nospace
}
# Files where superctl knows nothing.
complete -o default -F _superctl superctl
