# fish completion for superctl: /usr/share/fish/vendor_completions.d/superctl.fish
function __superctl_complete
	set -l words (commandline --tokenize --cut-at-cursor) (commandline --current-token --cut-at-cursor | string collect)
	set -l found (superctl __complete $words[2..] 2>/dev/null)
	if test -n "$found[1]"
		printf '%s\n' $found
	else
		__fish_complete_path (commandline --current-token)
	end
end
complete --command superctl --no-files --arguments '(__superctl_complete)'
