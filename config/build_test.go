package config

import (
	"reflect"
	"testing"
)

func TestEveryKeyOfABuildIsParsed(t *testing.T) {
	yes := true
	b, err := parseBuild("superctl.toml", []byte(`
app = "shop"
[build]
version = "4.2"
files = ["manage.py", "shop"]
lock = "requirements/production.txt"
extras = ["postgres"]
groups = ["prod"]
python = "3.12"
package = true
run = ["npm run build", ["python", "manage.py", "collectstatic"]]
output = ["static"]
smoke = "python manage.py check"
env = { A = "1" }
[process.worker]
[process.beat]
`))
	if err != nil {
		t.Fatal(err)
	}
	want := &Build{
		Name: "shop", Version: "4.2", Files: []string{"manage.py", "shop"}, Lock: "requirements/production.txt",
		Extras: []string{"postgres"}, Groups: []string{"prod"}, Python: "3.12", Package: &yes,
		Run: [][]string{{"npm", "run", "build"}, {"python", "manage.py", "collectstatic"}}, Output: []string{"static"},
		Smoke: [][]string{{"python", "manage.py", "check"}}, Env: map[string]string{"A": "1"},
		Processes: []string{"worker", "beat"},
	}
	if !reflect.DeepEqual(b, want) {
		t.Errorf("got  %+v\nwant %+v", b, want)
	}
}

func TestABuildReportsEveryErrorInItsConfig(t *testing.T) {
	_, err := parseBuild("superctl.toml", []byte(`
[build]
nam = "shop"
`))
	if want := `superctl.toml:3:1: unknown key "build.nam"; did you mean "name"?`; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	_, err = parseBuild("superctl.toml", []byte(`
[build]
name = "my shop"
version = "latest"
files = ["../shop", "a", "a"]
lock = "/etc/lock"
extras = ["--all"]
output = ["static"]
env = { SUPERCTL_APP = "1" }
`))
	const want = `superctl.toml:3:1: name "my shop": use letters, digits and . _ + -, at most 128, beginning with a letter or a digit
superctl.toml:4:1: version "latest": the word is reserved: choose another version
superctl.toml:5:1: files: "../shop": write a path in the project, without / at its beginning
superctl.toml:5:1: files: "a" is in the list twice
superctl.toml:6:1: lock "/etc/lock": it is a file of the project, such as "requirements/production.txt"
superctl.toml:7:1: extras: "--all" is not a valid name
superctl.toml:8:1: output: there is no command that would make it: write run = ["python manage.py collectstatic --noinput"]
superctl.toml:9:9: SUPERCTL_APP: superctl sets it itself`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}
