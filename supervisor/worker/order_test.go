package worker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestBytesThatAreNotUTF8ReachTheWorkerUnaltered(t *testing.T) {
	const value = "caf\xe9 \xff\xfe<>&\u2028\n\x01"
	w, _ := runScript(
		t, Spec{Env: []string{"PATH=/bin:/usr/bin", "NAME=" + value}}, `[ "$NAME" = "`+value+`" ] || exit 9`,
	)
	if w.Exit().String() != "exit code 0" {
		t.Errorf("%s: it has another value", w.Exit())
	}
}

func TestAnEnvironmentLargerThanOneVariableMayBeWorks(t *testing.T) {
	spec := Spec{Env: []string{"PATH=/bin:/usr/bin"}}
	for i := range 10 {
		spec.Env = append(spec.Env, fmt.Sprintf("BIG%d=%s", i, strings.Repeat("<", 100<<10)))
	}
	_, lines := runScript(t, spec, `echo ${#BIG0} ${#BIG9}`)
	if !slices.Equal(lines, []string{"102400 102400"}) {
		t.Errorf("%q", lines)
	}
}

func TestAVariableThatTheKernelRefusesIsNamedAndNotQuoted(t *testing.T) {
	big := strings.Repeat("canary", 128<<10/6)
	spec := Spec{Command: []string{"/bin/true"}, Dir: "/"}
	for _, tt := range []struct {
		want string
		env  []string
	}{
		{
			"environment variable BIG has 131073 bytes: the kernel takes less than 131072, with the name and the = sign",
			[]string{"A=1", "BIG=x" + big[:128<<10-4]},
		},
		{
			"more than the kernel takes at this limit of the stack (LimitSTACK= of the unit); the largest variables are V0 (131070 bytes), V1 (131070 bytes), V2 (131070 bytes)",
			many(60, big),
		},
	} {
		spec.Env = tt.env
		_, err := Start(t.Context(), spec)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%v, want %s", err, tt.want)
		}
		if err := Run(context.Background(), Command{Args: spec.Command, Env: tt.env, Dir: "/"}, func(string) {}); err == nil ||

			!strings.Contains(err.Error(), tt.want) {
			t.Errorf("a command: %v, want %s", err, tt.want)
		}
	}
}

func many(n int, value string) (env []string) {
	for i := range n {
		kv := fmt.Sprintf("V%d=%s", i, value)
		env = append(env, kv[:128<<10-2])
	}
	return env
}
