// Command wheel packs a binary as a Python wheel, so that `pip install`, `pipx install` and `uv tool
// install` bring it. It has no Python code: the wheel puts the binary where the environment's
// scripts are (packaging.python.org, "Binary distribution format"). The same input gives the same
// file.
//
//	go run ./wheel -binary superctl -version 0.1.0 -platform manylinux_2_17_x86_64.musllinux_1_1_x86_64 -readme README.md -out dist
package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	var w wheel
	flag.StringVar(&w.binary, "binary", "", "the static binary")
	flag.StringVar(&w.version, "version", "", "its version, as PEP 440 spells it")
	flag.StringVar(&w.platform, "platform", "", "platform tags, joined by dots")
	flag.StringVar(&w.readme, "readme", "", "description, in Markdown")
	out := flag.String("out", ".", "directory for the wheel")
	flag.Parse()
	if err := w.write(*out); err != nil {
		fmt.Fprintln(os.Stderr, "wheel:", err)
		os.Exit(1)
	}
}

type wheel struct{ binary, version, platform, readme string }

// tag is what of a wheel's tags does not depend on the platform: any Python 3, and none of its ABIs.
const tag = "py3-none-"

func (w *wheel) write(dir string) error {
	binary, err := os.ReadFile(w.binary)
	if err != nil {
		return err
	}
	readme, err := os.ReadFile(w.readme)
	if err != nil {
		return err
	}
	name := "superctl-" + w.version
	info, data := name+".dist-info/", name+".data/"
	var a archive
	a.add(data+"scripts/superctl", 0o755, binary)
	a.add(info+"METADATA", 0o644, w.metadata(readme))
	a.add(info+"WHEEL", 0o644, w.tags())
	record := info + "RECORD"
	a.add(record, 0o644, []byte(a.record.String()+record+",,\n"))
	file, err := a.close()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name+"-"+tag+w.platform+".whl"), file, 0o644)
}

// metadata follows packaging.python.org, "Core metadata specifications".
func (w *wheel) metadata(readme []byte) []byte {
	return fmt.Appendf(nil, `Metadata-Version: 2.4
Name: superctl
Version: %s
Summary: Zero-downtime process supervisor and reload daemon for Python web applications
License-Expression: MIT
Keywords: deployment,gunicorn,uwsgi,uvicorn,django,flask,zero-downtime,supervisor
Classifier: Environment :: Console
Classifier: Intended Audience :: System Administrators
Classifier: Operating System :: POSIX :: Linux
Classifier: Topic :: System :: Systems Administration
Requires-Python: >=3.8
Description-Content-Type: text/markdown

%s`, w.version, readme)
}

func (w *wheel) tags() []byte {
	var b bytes.Buffer
	b.WriteString("Wheel-Version: 1.0\nGenerator: superctl\nRoot-Is-Purelib: false\n")
	for platform := range strings.SplitSeq(w.platform, ".") {
		fmt.Fprintf(&b, "Tag: %s%s\n", tag, platform)
	}
	return b.Bytes()
}

// archive is a zip file whose RECORD is written along with it.
type archive struct {
	buf    bytes.Buffer
	zip    *zip.Writer
	record strings.Builder
	err    error
}

func (a *archive) add(name string, mode os.FileMode, data []byte) {
	if a.zip == nil {
		a.zip = zip.NewWriter(&a.buf)
	}
	head := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)}
	head.SetMode(mode)
	f, err := a.zip.CreateHeader(head)
	if err == nil {
		_, err = f.Write(data)
	}
	if err != nil && a.err == nil {
		a.err = fmt.Errorf("%s: %w", name, err)
	}
	sum := sha256.Sum256(data)
	fmt.Fprintf(&a.record, "%s,sha256=%s,%d\n", name, base64.RawURLEncoding.EncodeToString(sum[:]), len(data))
}

func (a *archive) close() ([]byte, error) {
	if a.err == nil {
		a.err = a.zip.Close()
	}
	return a.buf.Bytes(), a.err
}
