# bash completion for superctl: /usr/share/bash-completion/completions/superctl
_superctl() {
	local IFS=$' \t\n' words=() line=${COMP_LINE:0:COMP_POINT} cur=${COMP_WORDS[COMP_CWORD]} prefix i
	# bash takes = @ and : for words of their own: superctl @production:web1, scale web=4
	read -ra words <<<"$line"
	[[ $line != *[[:space:]] ]] || words+=("")
	[[ $cur != [=@:] ]] || cur=
	prefix=${words[-1]%"$cur"}
	IFS=$'\n'
	# shellcheck disable=SC2207 # one word a line
	COMPREPLY=($("${words[0]}" __complete "${words[@]:1}" 2>/dev/null))
	for i in "${!COMPREPLY[@]}"; do
		COMPREPLY[i]=${COMPREPLY[i]#"$prefix"}
	done
	[[ ${#COMPREPLY[@]} -ne 1 || ${COMPREPLY[0]} != *= ]] || compopt -o nospace
}
# Files where superctl knows nothing.
complete -o default -F _superctl superctl
