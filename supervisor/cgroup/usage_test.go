package cgroup

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTheWorkingSetIsWithoutThePageCacheThatGoesFirst(t *testing.T) {
	write := func(dir, name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	full, none := t.TempDir(), t.TempDir()
	write(full, "memory.current", "1000000\n")
	write(full, "memory.stat", "anon 600000\nfile 400000\nactive_file 100000\ninactive_file 300000\nslab 7\n")
	if n, ok := WorkingSet(full); n != 700_000 || !ok {
		t.Errorf("%d, %t", n, ok)
	}
	write(full, "memory.stat", "inactive_file 1000001\n") // it has grown between the two reads
	if n, ok := WorkingSet(full); n != 0 || !ok {
		t.Errorf("%d, %t", n, ok)
	}
	for _, dir := range []string{"", none} {
		if n, ok := WorkingSet(dir); n != 0 || ok {
			t.Errorf("%q: %d, %t", dir, n, ok)
		}
	}
}
