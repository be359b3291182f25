package releases

import (
	"maps"
	"path/filepath"
	"testing"
)

func TestAReleaseSetsVariablesButNoReservedOnes(t *testing.T) {
	const prefix = "its release.toml cannot be used: env."
	for text, says := range map[string]string{
		"[env]\nA = \"1\"\nB = \"two words\"\n": "",
		"[env]\nDEBUG = 1\n": "its release.toml cannot be read: line 2, column 9: env.DEBUG: " +
			"a string is expected, in quotes",
		"[env]\n\"1A\" = \"x\"\n": "its release.toml cannot be used: env: \"1A\" is not a variable name: " +
			"use letters, digits and _, and do not begin with a digit",
		"[env]\nA = \"\\u0000\"\n":             prefix + "A: its value is longer than 32 KB or contains a NUL",
		"[env]\nPATH = \"/x\"\n":               prefix + "PATH: superctl sets it from the release's virtualenv",
		"[env]\nVIRTUAL_ENV = \"/x\"\n":        prefix + "VIRTUAL_ENV: superctl sets it from the release's virtualenv",
		"[env]\nHOME = \"/x\"\n":               prefix + "HOME: superctl sets it from the user of the workers",
		"[env]\nSUPERCTL_APP = \"x\"\n":        prefix + "SUPERCTL_APP: superctl sets it itself",
		"[env]\nLISTEN_FDS = \"1\"\n":          prefix + "LISTEN_FDS: superctl sets it itself",
		"[env]\nNOTIFY_SOCKET = \"x\"\n":       prefix + "NOTIFY_SOCKET: superctl sets it itself",
		"[env]\nCREDENTIALS_DIRECTORY = \"x\"": prefix + "CREDENTIALS_DIRECTORY: superctl sets it itself",
	} {
		s := store(t, "r1")
		write(t, filepath.Join(s.Dir, "r1", "release.toml"), text)
		r, err := s.Resolve("r1", Refs{})
		must(t, err)
		switch {
		case says == "" && (r.Broken != nil || !maps.Equal(r.Env, map[string]string{"A": "1", "B": "two words"})):
			t.Errorf("%q gives %v, %v", text, r.Env, r.Broken)
		case says != "" && (r.Broken == nil || r.Broken.Error() != says):
			t.Errorf("%q: %v", text, r.Broken)
		}
	}
}
