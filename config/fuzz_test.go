package config

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

// FuzzConfig proves that no text crashes the parser, that an accepted config can run, and that an
// error names the file.
func FuzzConfig(f *testing.F) {
	rows, err := txtar.ParseFile("testdata/errors.txtar")
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(minimal))
	for i := 0; i < len(rows.Files); i += 2 {
		f.Add(rows.Files[i].Data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parse("shop.toml", "/etc/superctl/shop.toml", data, 0)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "shop.toml:") && !strings.Contains(string(data), "env_file") {
				t.Fatalf("it does not name the file: %v", err)
			}
			return
		}
		if !isAppName(c.App) || !filepath.IsAbs(c.Releases) || len(c.Processes) == 0 {
			t.Fatalf("app %q, releases %q, %d processes", c.App, c.Releases, len(c.Processes))
		}
		words := slices.Concat(texts(c.Env),
			slices.Concat(slices.Concat(c.Hooks.Before, c.Hooks.After, c.Hooks.OnAbort, c.Hooks.OnRevert)...))
		for _, p := range c.Processes {
			if len(p.Command) == 0 || p.Command[0] == "" || p.Instances < 1 || p.Drain < time.Second ||
				p.Drain > maxDuration {
				t.Fatalf("it cannot be run: %+v", p)
			}
			if (p.Health != nil) != (len(p.Listen) > 0) {
				t.Fatalf("%d listeners, health %+v", len(p.Listen), p.Health)
			}
			words = slices.Concat(words, p.Command, texts(p.Env))
		}
		for _, w := range words {
			if strings.ContainsRune(w, 0) {
				t.Fatalf("the kernel takes no NUL byte, and here is one: %q", w)
			}
		}
	})
}

func texts(vars []Variable) (list []string) {
	for _, v := range vars {
		list = append(list, v.Name, v.Value)
	}
	return list
}
