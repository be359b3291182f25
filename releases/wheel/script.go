package wheel

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// placeholder is the first line of a script in a wheel that must run with the virtualenv's
// interpreter (PEP 427).
const placeholder = "#!python"

// script is a program in the virtualenv's bin directory.
type script struct {
	name         string
	module, attr string // of an entry point
	file         string // path in the virtualenv
	own          bool   // the text comes from the wheel
	head         string // what replaced the placeholder
}

// entryPoint returns the pattern of NAME = MODULE:ATTR [EXTRAS] # comment, as pip's various parsers
// accept it: all except those of Python 3.11 and newer accept a colon for the equals sign. It is
// compiled on first use, because that takes long and few commands need it.
//
//nolint:gochecknoglobals // a constant
var entryPoint = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^([\pL\d_.+-][\pL\d_. +-]*?)\s*[=:]\s*` + // name
		`([\pL_][\pL\d_.]*)\s*(?::\s*([\pL_][\pL\d_.]*))?\s*` + // module:attr
		`(?:\[[^\]]*\])?(?:\s+[#;].*)?$`)
})

// entryPoints parses the programs of a distribution from its entry_points.txt.
func entryPoints(text string) ([]script, error) {
	var list []script
	var section string
	for l := range strings.Lines(text) {
		l = strings.TrimSpace(l)
		switch {
		case l == "" || l[0] == '#' || l[0] == ';':
			continue
		case l[0] == '[':
			section = strings.Trim(l, "[] ")
			continue
		case section != "console_scripts" && section != "gui_scripts":
			continue
		}
		m := entryPoint().FindStringSubmatch(l)
		if m == nil || m[3] == "" {
			return nil, fmt.Errorf("its entry_points.txt: %q is not an entry point", l)
		}
		one := script{name: m[1], module: m[2], attr: m[3]}
		if at := slices.IndexFunc(list, func(s script) bool { return s.name == one.name }); at >= 0 {
			list[at] = one // the last one counts
			continue
		}
		list = append(list, one)
	}
	return list, nil
}

// Finish writes the scripts, which start with the interpreter python, and the records of what is
// installed. It may be called again with another interpreter, even once all files are read-only.
func (v *Virtualenv) Finish(python string) error {
	for _, d := range v.dists {
		if err := v.finish(d, python); err != nil {
			return fmt.Errorf("wheel %s: %w", d.name, err)
		}
	}
	return nil
}

func (v *Virtualenv) finish(d *dist, python string) error {
	head := shebang(python)
	for i := range d.scripts {
		s := &d.scripts[i]
		if v.owners[s.file] != d.name {
			continue // another wheel has the same script, and won
		}
		text, err := v.text(s, head)
		if err == nil {
			d.record[s.file], err = v.replace(s.file, text)
		}
		if err != nil {
			return fmt.Errorf("script %s: %w", s.file, err)
		}
		s.head = head
	}
	installer := path.Join(d.lib, d.info, "INSTALLER")
	l, err := v.replace(installer, []byte("superctl\n"))
	if err != nil {
		return err
	}
	d.record[installer] = l
	return v.writeRecord(d)
}

// claim creates the files of the entry points, still empty, so that a conflict between two wheels
// is detected.
func (v *Virtualenv) claim(d *dist) error {
	for i := range d.scripts {
		s := &d.scripts[i]
		if s.own {
			continue
		}
		s.file = path.Join(v.scheme.Scripts, s.name)
		if v.owners[s.file] == d.name {
			s.file = "" // the text comes from the wheel
			continue
		}
		if _, err := v.write(d, s.file, 0o755, strings.NewReader(""), 0); err != nil {
			return fmt.Errorf("script %s: %w", s.name, err)
		}
	}
	return nil
}

// text returns the text of a script.
func (v *Virtualenv) text(s *script, head string) ([]byte, error) {
	if !s.own {
		top, _, _ := strings.Cut(s.attr, ".")
		return fmt.Appendf(nil, `%s# -*- coding: utf-8 -*-
import re
import sys
from %s import %s
if __name__ == '__main__':
    sys.argv[0] = re.sub(r'(-script\.pyw|\.exe)?$', '', sys.argv[0])
    sys.exit(%s())
`, head, s.module, top, s.attr), nil
	}
	f, err := v.root.Open(s.file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, textLimit+1))
	if err != nil || len(text) > textLimit {
		return nil, errors.Join(err, fmt.Errorf("it is longer than %d MB", textLimit>>20))
	}
	if s.head != "" {
		return append([]byte(head), bytes.TrimPrefix(text, []byte(s.head))...), nil
	}
	_, body, _ := bytes.Cut(text, []byte("\n"))
	return append([]byte(head), body...), nil
}

// shebangLimit is the longest first line that kernels before 5.1 accept (BINPRM_BUF_SIZE).
const shebangLimit = 127

// shebang returns the first line of a Python script, or, if the kernel would not accept it, lines
// that are valid in both shell and Python.
func shebang(python string) string {
	if len(python)+3 <= shebangLimit && !strings.ContainsAny(python, " \t") {
		return "#!" + python + "\n"
	}
	return "#!/bin/sh\n'''exec' " + strconv.Quote(python) + " \"$0\" \"$@\"\n' '''\n"
}

// replace rewrites a small file and keeps its mode.
func (v *Virtualenv) replace(name string, text []byte) (line, error) {
	mode := fs.FileMode(0o644)
	st, err := v.root.Lstat(name)
	if err == nil {
		mode = st.Mode().Perm()
		err = v.root.Chmod(name, 0o644)
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return line{}, err
	}
	f, err := v.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return line{}, err
	}
	_, err = f.Write(text)
	sum := sha256.Sum256(text)
	l := line{"sha256=" + base64.RawURLEncoding.EncodeToString(sum[:]), int64(len(text))}
	return l, errors.Join(err, f.Chmod(mode), f.Close())
}

// writeRecord writes RECORD, the list of installed files, with paths relative to the packages.
func (v *Virtualenv) writeRecord(d *dist) error {
	own := path.Join(d.lib, d.info, "RECORD")
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	for _, name := range append(slices.Sorted(maps.Keys(d.record)), own) {
		rel, err := filepath.Rel(d.lib, name)
		if err != nil {
			return err
		}
		l := d.record[name]
		row := []string{rel, l.hash, strconv.FormatInt(l.size, 10)}
		if name == own {
			row = []string{rel, "", ""}
		}
		if err := w.Write(row); err != nil {
			return err
		}
	}
	w.Flush()
	_, err := v.replace(own, b.Bytes())
	return err
}
