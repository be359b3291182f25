package wheel

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Name is the parsed file name of a wheel (PEP 427).
type Name struct {
	Distribution, Version string
	Tags                  []Tag // the wheel supports each of them
}

// Normal returns the normalized name of the distribution (PEP 503).
func (n Name) Normal() string { return normal(n.Distribution) }

// Tag is a platform that a wheel supports (PEP 425), such as cp311-cp311-manylinux_2_17_x86_64.
type Tag struct{ Python, ABI, Platform string }

// String returns the tag in its usual form.
func (t Tag) String() string { return t.Python + "-" + t.ABI + "-" + t.Platform }

// ParseName parses the file name of a wheel.
func ParseName(file string) (Name, error) {
	base, ok := strings.CutSuffix(path.Base(file), ".whl")
	parts := strings.Split(base, "-")
	if !ok || len(parts) != 5 && len(parts) != 6 || slices.Contains(parts, "") {
		return Name{}, fmt.Errorf("invalid wheel name %s: use NAME-VERSION-PYTHON-ABI-PLATFORM.whl", path.Base(file))
	}
	n := Name{Distribution: parts[0], Version: parts[1]}
	three := parts[len(parts)-3:]
	for python := range strings.SplitSeq(three[0], ".") {
		for abi := range strings.SplitSeq(three[1], ".") {
			for platform := range strings.SplitSeq(three[2], ".") {
				n.Tags = append(n.Tags, Tag{python, abi, platform})
			}
		}
	}
	return n, nil
}

// Interpreter is the interpreter that wheels are installed for, as it describes itself.
type Interpreter struct {
	Implementation string `json:"implementation"` // cpython
	Version        string `json:"version"`        // 3.11.2
	ABI            string `json:"abi"`            // cp311
	Platform       string `json:"platform"`       // linux-x86_64
	Libc           string `json:"libc"`           // glibc 2.36; "" = unknown
}

// Supports reports whether the interpreter supports wheels with the tag, as `pip debug --verbose`
// lists them.
func (in *Interpreter) Supports(t Tag) bool {
	return in.supportsPython(t) && in.supportsPlatform(t.Platform)
}

func (in *Interpreter) supportsPython(t Tag) bool {
	kind, number := splitTag(t.Python)
	want := tagNumbers(number)
	switch {
	case t.ABI == "none" && kind == "py":
		return in.isAtLeast(want)
	case t.ABI == "none":
		return in.isExactly(kind, want)
	case t.ABI == "abi3":
		return kind == "cp" && in.hasStableABI() && t.Platform != anyPlatform && want.exact && want.minor >= 2 &&
			in.isAtLeast(want)
	}
	return in.isExactly(kind, want) && t.ABI == in.ABI && t.Platform != anyPlatform
}

// isAtLeast reports whether the interpreter runs what was made for a Python of the same major
// version.
func (in *Interpreter) isAtLeast(want pythonVersion) bool {
	major, minor := in.numbers()
	return want.major == major && (!want.exact || want.minor <= minor)
}

func (in *Interpreter) isExactly(kind string, want pythonVersion) bool {
	major, minor := in.numbers()
	return kind == in.prefix() && want == pythonVersion{major, minor, true}
}

// hasStableABI reports whether the interpreter loads modules of the ABI that is stable since 3.2.
func (in *Interpreter) hasStableABI() bool { return in.prefix() == "cp" && !in.freeThreaded() }

const anyPlatform = "any"

// legacy translates the old names of glibc versions (PEP 513, 571, 599).
func legacy(platform string) string {
	for old, now := range map[string]string{
		"manylinux1_": "manylinux_2_5_", "manylinux2010_": "manylinux_2_12_", "manylinux2014_": "manylinux_2_17_",
	} {
		if arch, ok := strings.CutPrefix(platform, old); ok {
			return now + arch
		}
	}
	return platform
}

func (in *Interpreter) supportsPlatform(platform string) bool {
	if platform == anyPlatform {
		return true
	}
	family, arch, least, ok := splitPlatform(platform)
	if !ok || arch != in.machine() {
		return false
	}
	if family == "linux" {
		return true
	}
	have, version := in.libc()
	return have == family && (least == [2]int{} || version != [2]int{}) && !older(version, least)
}

// splitPlatform splits linux_x86_64, manylinux_2_17_x86_64 and musllinux_1_2_x86_64.
func splitPlatform(platform string) (family, arch string, least [2]int, ok bool) {
	if arch, ok := strings.CutPrefix(platform, "linux_"); ok {
		return "linux", arch, least, true
	}
	platform = legacy(platform)
	for prefix, libc := range map[string]string{"manylinux_": "glibc", "musllinux_": "musl"} {
		rest, found := strings.CutPrefix(platform, prefix)
		if !found {
			continue
		}
		numbers := strings.SplitN(rest, "_", 3)
		if len(numbers) < 3 {
			return "", "", least, false
		}
		major, errMajor := strconv.Atoi(numbers[0])
		minor, errMinor := strconv.Atoi(numbers[1])
		return libc, numbers[2], [2]int{major, minor}, errMajor == nil && errMinor == nil
	}
	return "", "", least, false
}

// Needs describes what the tags require of the machine, for messages.
func Needs(tags []Tag) string {
	var list []string
	for _, t := range tags {
		text := t.String()
		if family, arch, least, ok := splitPlatform(t.Platform); ok && family != "linux" {
			text += fmt.Sprintf(" (%s %d.%d or newer on %s)", family, least[0], least[1], arch)
		}
		list = append(list, text)
	}
	return strings.Join(list, " or ")
}

// builtHere reports whether a wheel was built on the machine that built the bundle, so that it
// needs a similar C library.
func (n *Name) builtHere() bool {
	return slices.ContainsFunc(n.Tags, func(t Tag) bool { return strings.HasPrefix(t.Platform, "linux_") })
}

// LibcOf returns the oldest C library that supports all the wheels, by their file names. If one was
// built locally it is here, the library of that machine; if all are pure Python, "".
func LibcOf(files []string, here string) string {
	family, needs := "", [2]int{}
	for _, file := range files {
		name, err := ParseName(file)
		if err != nil {
			continue
		}
		if name.builtHere() {
			return here
		}
		libc, least := "", [2]int{} // the least demanding of its tags counts
		for _, t := range name.Tags {
			if kind, _, version, ok := splitPlatform(t.Platform); ok && (libc == "" || older(version, least)) {
				libc, least = kind, version
			}
		}
		if libc != "" && (family == "" || older(needs, least)) {
			family, needs = libc, least
		}
	}
	if family == "" {
		return ""
	}
	return fmt.Sprintf("%s %d.%d", family, needs[0], needs[1])
}

// OlderLibc reports whether this interpreter's C library is older than the other, or of another
// family.
func (in *Interpreter) OlderLibc(than string) bool {
	other := Interpreter{Libc: than}
	family, version := other.libc()
	have, mine := in.libc()
	return than != "" && (have != family || older(mine, version))
}

func older(a, b [2]int) bool { return a[0] < b[0] || a[0] == b[0] && a[1] < b[1] }

func (in *Interpreter) libc() (family string, version [2]int) {
	family, text, _ := strings.Cut(in.Libc, " ")
	major, minor, _ := strings.Cut(text, ".")
	minor, _, _ = strings.Cut(minor, ".")
	version[0], _ = strconv.Atoi(major)
	version[1], _ = strconv.Atoi(minor)
	return family, version
}

// machine returns x86_64 for linux-x86_64.
func (in *Interpreter) machine() string {
	_, machine, _ := strings.Cut(in.Platform, "-")
	return strings.ReplaceAll(machine, "-", "_")
}

func (in *Interpreter) numbers() (major, minor int) {
	parts := strings.SplitN(in.Version, ".", 3)
	major, _ = strconv.Atoi(parts[0])
	if len(parts) > 1 {
		minor, _ = strconv.Atoi(parts[1])
	}
	return major, minor
}

func (in *Interpreter) prefix() string {
	if in.Implementation == "cpython" {
		return "cp"
	}
	if in.Implementation == "pypy" {
		return "pp"
	}
	return in.Implementation
}

func (in *Interpreter) freeThreaded() bool { return strings.HasSuffix(in.ABI, "t") }

// splitTag splits cp311 into cp and 311.
func splitTag(tag string) (kind, number string) {
	at := strings.IndexAny(tag, "0123456789")
	if at < 0 {
		return tag, ""
	}
	return tag[:at], tag[at:]
}

// pythonVersion is a version in a tag: 3.11, or any 3.
type pythonVersion struct {
	major, minor int
	exact        bool // minor counts
}

// tagNumbers parses 311 as 3.11, and 3 as any 3. What is not a version is that of no interpreter.
func tagNumbers(digits string) pythonVersion {
	unknown := pythonVersion{major: -1, minor: -1}
	if digits == "" {
		return unknown
	}
	major, err := strconv.Atoi(digits[:1])
	if err != nil {
		return unknown
	}
	if len(digits) == 1 {
		return pythonVersion{major: major}
	}
	minor, err := strconv.Atoi(digits[1:])
	if err != nil {
		return unknown
	}
	return pythonVersion{major, minor, true}
}
