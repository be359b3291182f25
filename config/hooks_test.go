package config

import (
	"reflect"
	"strings"
	"testing"
)

func TestHooksAreParsedAsCommands(t *testing.T) {
	for text, want := range map[string][][]string{
		`"python manage.py migrate"`: {{"python", "manage.py", "migrate"}},
		`["python manage.py migrate", ["notify", "it is on"]]`: {
			{"python", "manage.py", "migrate"},
			{"notify", "it is on"},
		},
		`["notify 'it is on'"]`: {{"notify", "it is on"}},
	} {
		c, err := parse("shop.toml", "/etc/superctl/shop.toml",
			[]byte("app = \"shop\"\nreleases = \"/srv/shop/releases\"\n"+
				"[process.web]\ncommand = \"gunicorn shop.wsgi\"\n[hooks]\nbefore = "+text+"\n"), 0)
		if err != nil || !reflect.DeepEqual(c.Hooks.Before, want) {
			t.Errorf("%s: %+v, %v", text, c, err)
		}
	}
}

func TestAHookMayRunOnceInARun(t *testing.T) {
	const head = "app = \"shop\"\nreleases = \"/srv/shop/releases\"\n[process.web]\ncommand = \"gunicorn shop.wsgi\"\n"
	for text, once := range map[string]map[string][]int{
		"[hooks]\nbefore = [\"look\", { run = \"migrate\", once = true }]":                      {"before": {1}},
		"[[hooks.before]]\nrun = \"look\"\n[[hooks.before]]\nrun = [\"migrate\"]\nonce = true":  {"before": {1}},
		"[hooks]\nbefore = [\"look\", { run = \"migrate\", once = false }]":                     {},
		"[hooks]\nbefore = [\"look\", \"migrate\"]\non_abort = { run = \"tell\", once = true }": {"on_abort": {0}},
	} {
		c, err := Parse("shop.toml", []byte(head+text+"\n"))
		if err != nil || !reflect.DeepEqual(c.Hooks.Before, [][]string{{"look"}, {"migrate"}}) ||
			!reflect.DeepEqual(c.Hooks.Once, once) {
			t.Errorf("%s: %+v, %v", text, c, err)
		}
	}
	for hook, says := range map[string]string{
		`{ once = true }`:                 "a hook has no command",
		`{ run = "a", once = "yes" }`:     "once is true or false",
		`{ run = "a", onse = true }`:      `unknown key "onse"`,
		`{ run = "a && b", once = true }`: "is for a shell",
	} {
		_, err := Parse("shop.toml", []byte(head+"[hooks]\nafter = ["+hook+"]\n"))
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", hook, err)
		}
	}
}
