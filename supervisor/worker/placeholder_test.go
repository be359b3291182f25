package worker

import (
	"slices"
	"strings"
	"testing"
)

func TestPlaceholdersOfCommandAndVariablesAreReplaced(t *testing.T) {
	s := Spec{
		Release: "r 1", Commit: "abc", Generation: 7, Process: "web", Instance: 2, Scratch: "/state/scratch/g7",
		Command:   []string{"a", "--fd={fd.api}", "{addr.web}", "{release}{commit}"},
		Templates: []string{"A={scratch}/x", "B={process}.{instance}", "C={generation}{{release}}"},
		Files:     []File{{Name: "web", Addr: "1.2.3.4:5"}, {Name: "api"}},
	}
	args, env, err := s.expand()
	if err != nil || !slices.Equal(args, []string{"a", "--fd=4", "1.2.3.4:5", "r 1abc"}) ||
		!slices.Equal(env, []string{"A=/state/scratch/g7/x", "B=web.2", "C=7{release}"}) {
		t.Errorf("%q %q %v", args, env, err)
	}
}

func TestOnlyPlaceholdersAreReplaced(t *testing.T) {
	for text, want := range map[string]string{
		"":                            "",
		"{release}":                   "R",
		"x{release}y{release}":        "xRyR",
		"{{release}} {{release}":      "{release} {release}",
		"{{}} {{ x }}":                "{}} { x }}",
		"${release} %({release}i)s":   "${release} %({release}i)s",
		"%({x-forwarded-for}i)s":      "%({x-forwarded-for}i)s",
		`{"a": {"b": 1}}`:             `{"a": {"b": 1}}`,
		"{Release} {1} {} { release}": "{Release} {1} {} { release}",
		"{release":                    "{release",
		"caf\xe9{release}\xff":        "caf\xe9R\xff",
	} {
		got, unknown := Expand(text, func(name string) (string, bool) { return "R", name == "release" })
		if got != want || unknown != "" {
			t.Errorf("%q: got %q, unknown %q; want %q", text, got, unknown, want)
		}
	}
	if _, unknown := Expand("{release} {instanc} {x}", func(name string) (string, bool) {
		return "", name == "release"
	}); unknown != "instanc" {
		t.Errorf("unknown is %q", unknown)
	}
}

func TestOpenTelemetryLearnsTheAppAndTheRelease(t *testing.T) {
	for own, want := range map[string]string{
		"":                                 "service.name=shop,service.version=r%201%2Cx%25",
		"deployment.environment=prod":      "deployment.environment=prod,service.name=shop,service.version=r%201%2Cx%25",
		"service.name=other, a=b,":         "service.name=other, a=b,service.version=r%201%2Cx%25",
		"service.version=1,service.name=2": "service.version=1,service.name=2",
	} {
		s := Spec{App: "shop", Release: "r 1,x%"}
		if own != "" {
			s.Env = []string{resourceVar + "=" + own}
		}
		env := s.environment("", nil)
		at := slices.IndexFunc(env, func(kv string) bool { return strings.HasPrefix(kv, resourceVar+"=") })
		if at < 0 || env[at] != resourceVar+"="+want {
			t.Errorf("%q: got %q, want %q", own, env, want)
		}
	}
	secret := Spec{App: "shop", Secrets: Secrets{resourceVar: "/x"}}
	if env := secret.environment("", nil); strings.Contains(strings.Join(env, " "), resourceVar) {
		t.Errorf("beside a credential: %q", env)
	}
}
