package wheel

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

// TestTheSameTagsAreSupportedAsByPip compares with pip, for tags that it supports and tags that it
// does not.
func TestTheSameTagsAreSupportedAsByPip(t *testing.T) {
	script := `
import json, platform, sys, sysconfig
sys.path.insert(0, sys.argv[1])
from pip._internal.utils.compatibility_tags import get_supported
print(json.dumps({
  "implementation": sys.implementation.name, "version": platform.python_version(),
  "abi": "cp%d%d" % sys.version_info[:2], "platform": sysconfig.get_platform(),
  "libc": " ".join(platform.libc_ver()), "tags": [str(t) for t in get_supported()]}))`
	out, err := exec.Command("/usr/bin/python3", "-I", "-c", script, pipWheel(t)).Output()
	if err != nil {
		t.Fatal(err)
	}
	var has struct {
		Interpreter
		Tags []string
	}
	if err := json.Unmarshal(out, &has); err != nil {
		t.Fatal(err)
	}
	good := make(map[string]bool)
	for _, tag := range has.Tags {
		good[tag] = true
	}
	pythons := []string{
		"cp27", "cp310", "cp311", "cp312", "cp313", "py2", "py3", "py27", "py310", "py311", "py312", "py313", "py314",
		"pp310", "cp3", "cp32", "cp39", "cp40",
	}
	abis := []string{"none", "abi3", "cp310", "cp311", "cp312", "cp313", "cp313t", "cp39m", "pypy310_pp73"}
	platforms := []string{
		"any", "linux_x86_64", "linux_aarch64", "manylinux1_x86_64", "manylinux2010_x86_64",
		"manylinux2014_x86_64", "manylinux2014_aarch64", "manylinux_2_5_x86_64", "manylinux_2_17_x86_64",
		"manylinux_2_28_x86_64", "manylinux_2_34_x86_64", "manylinux_2_35_x86_64", "manylinux_2_36_x86_64",
		"manylinux_2_37_x86_64", "manylinux_2_39_x86_64", "manylinux_2_43_x86_64", "manylinux_2_99_x86_64",
		"manylinux_3_0_x86_64", "musllinux_1_1_x86_64", "win_amd64", "macosx_11_0_arm64",
	}
	for i, p := range platforms {
		platforms[i] = strings.Replace(p, "x86_64", has.machine(), 1)
	}
	both := [2]int{}
	for _, python := range pythons {
		for _, abi := range abis {
			for _, platform := range platforms {
				tag := Tag{python, abi, platform}
				want := good[python+"-"+abi+"-"+platform]
				if got := has.Supports(tag); got != want {
					t.Errorf("%v: %v, pip says %v", tag, got, want)
				}
				if want {
					both[1]++
				} else {
					both[0]++
				}
			}
		}
	}
	if both[0] < 100 || both[1] < 50 {
		t.Errorf("%d tags are supported and %d are not: too few to compare", both[1], both[0])
	}
}

func TestAWheelNameIsParsed(t *testing.T) {
	n, err := ParseName("wheels/psycopg_binary-3.2.1-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl")
	valid := err == nil && n.Distribution == "psycopg_binary" && n.Version == "3.2.1" && len(n.Tags) == 2
	if !valid || n.Tags[1].Platform != "manylinux2014_x86_64" || n.builtHere() {
		t.Errorf("%+v, %v", n, err)
	}
	if n, err = ParseName("uwsgi-2.0-cp311-cp311-linux_x86_64.whl"); err != nil || !n.builtHere() {
		t.Errorf("%+v, %v", n, err)
	}
	for _, bad := range []string{
		"a.whl", "a-1-py3-none.whl", "a-1-py3-none-any.zip", "a-1--none-any.whl", "a-b-c-d-e-f-g.whl",
	} {
		if n, err := ParseName(bad); err == nil {
			t.Errorf("%s: %+v", bad, n)
		}
	}
	text := Needs([]Tag{{"cp311", "cp311", "manylinux_2_28_x86_64"}, {"cp311", "cp311", "linux_x86_64"}})
	if !strings.Contains(text, "glibc 2.28 or newer on x86_64") ||
		!strings.Contains(text, " or cp311-cp311-linux_x86_64") {
		t.Error(text)
	}
}

func TestAnOlderOrAnotherLibcIsDetected(t *testing.T) {
	here := Interpreter{Libc: "glibc 2.36"}
	for libc, want := range map[string]bool{
		"": false, "glibc 2.36": false, "glibc 2.4": false, "glibc 2.37": true, "glibc 3.0": true, "musl 1.2": true,
	} {
		if got := here.OlderLibc(libc); got != want {
			t.Errorf("%q: %v", libc, got)
		}
	}
}

func TestWheelsNeedTheCLibraryOfTheNewestOfThem(t *testing.T) {
	const here = "glibc 2.41"
	for _, tt := range []struct {
		want   string
		wheels []string
	}{
		{"", []string{"a-1-py3-none-any.whl"}},
		{"glibc 2.17", []string{
			"a-1-py3-none-any.whl",
			"b-1-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.manylinux_2_28_x86_64.whl",
		}},
		{"glibc 2.34", []string{
			"b-1-cp311-cp311-manylinux2014_x86_64.whl", "c-1-cp311-abi3-manylinux_2_34_x86_64.whl",
			"d-1-cp311-cp311-manylinux_2_5_x86_64.whl",
		}},
		{"musl 1.2", []string{"b-1-cp311-cp311-musllinux_1_2_x86_64.whl"}},
		{here, []string{"b-1-cp311-cp311-manylinux2014_x86_64.whl", "c-1-cp311-cp311-linux_x86_64.whl"}},
		{"glibc 2.5", []string{"b-1-cp311-cp311-manylinux1_x86_64.whl"}},
	} {
		if got := LibcOf(tt.wheels, here); got != tt.want {
			t.Errorf("%v need %q, want %q", tt.wheels, got, tt.want)
		}
	}
}
