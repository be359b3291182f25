//go:build linux

package serve

import "testing"

func TestALocalAddressIsOneOfThisHost(t *testing.T) {
	for text, want := range map[string]bool{
		"127.0.0.1:1": true, "127.9.9.9:1": true, "[::1]:1": true, "localhost:1": true, "LOCALHOST:1": true, "unix:/run/x": true,
		"0.0.0.0:1": false, "[::]:1": false, "10.0.0.1:1": false, "localhost.example:1": false, "127.0.0.1.example:1": false,
	} {
		a, err := Parse(text, Example{})
		if err != nil || a.IsLocal() != want {
			t.Errorf("%s: local %t, %v", text, a.IsLocal(), err)
		}
	}
}
