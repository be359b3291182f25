// Package wheel installs wheels into a virtualenv, as specified by PEP 427.
//
// It does what pip does with a wheel, but executes nothing: neither the installed code nor an
// installer's. So root can install software that only a less privileged user may run. It writes
// nothing outside the virtualenv, and its memory use does not depend on a wheel's size.
package wheel

import (
	"archive/zip"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"superctl/plain"
)

// Limits of what is read of a wheel.
const (
	directoryLimit = 64 << 20 // its list of files
	textLimit      = 8 << 20  // a file that is read into memory: metadata, or a script
	filesLimit     = 500_000  // all wheels together
	dirsLimit      = 200      // depth of a path: Python's byte-compiler fails beyond its recursion limit
)

// Scheme has the destination directories, as paths in the virtualenv.
type Scheme struct{ Purelib, Platlib, Headers, Scripts string }

// Virtualenv is a virtualenv into which wheels are installed.
type Virtualenv struct {
	root      *os.Root
	scheme    Scheme
	owners    map[string]string // file -> the wheel that it comes from; "" = the virtualenv's own
	dists     []*dist
	Conflicts []string // files that two wheels contain, with the one that won

	// The directory of the last file. Opening each file by its whole path would walk it from the
	// root, name by name.
	dir     *os.Root
	dirName string
}

// dist is an installed wheel.
type dist struct {
	name    string // file name of the wheel
	lib     string // directory of its packages
	info    string // directory of its metadata
	record  map[string]line
	scripts []script
}

// line is a line of RECORD.
type line struct {
	hash string
	size int64
}

// Open opens a new virtualenv.
func Open(root *os.Root, scheme Scheme) (*Virtualenv, error) {
	v := &Virtualenv{root: root, scheme: scheme, owners: make(map[string]string)}
	err := fs.WalkDir(root.FS(), ".", func(name string, _ fs.DirEntry, err error) error {
		v.owners[name] = ""
		return err
	})
	return v, err
}

// Measure returns the unpacked size of a wheel in bytes and its number of files.
func Measure(r io.ReaderAt, size int64) (bytes int64, files int, err error) {
	z, err := open(r, size)
	if err != nil {
		return 0, 0, err
	}
	for _, f := range z.File {
		if bytes += int64(f.UncompressedSize64 & (1<<62 - 1)); bytes < 0 {
			return 0, 0, errors.New("the total size of its files is too large")
		}
	}
	return bytes, len(z.File), nil
}

// open opens the archive. It bounds the list of files, which zip.NewReader reads into memory as a
// whole.
func open(r io.ReaderAt, size int64) (*zip.Reader, error) {
	const end, longest = 22, 22 + 1<<16 // size of the end record, without and with the longest comment
	tail := make([]byte, min(size, longest))
	if _, err := r.ReadAt(tail, size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	at := bytes.LastIndex(tail, []byte("PK\x05\x06"))
	if at < 0 || len(tail)-at < end {
		return nil, errors.New("it is not a zip archive, or it is cut short")
	}
	if at >= 20 && bytes.HasPrefix(tail[at-20:], []byte("PK\x06\x07")) {
		return nil, errors.New("it has more than 65,534 files or 4 GB, which is not supported")
	}
	length, offset := binary.LittleEndian.Uint32(tail[at+12:]), binary.LittleEndian.Uint32(tail[at+16:])
	if int64(length) > directoryLimit || size-int64(offset) > directoryLimit {
		return nil, fmt.Errorf("its list of files is longer than %d MB", directoryLimit>>20)
	}
	z, err := zip.NewReader(r, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // Add checks the paths itself
		return nil, err
	}
	return z, nil
}

// Add unpacks a wheel with the file name file. Finish writes its scripts.
func (v *Virtualenv) Add(file string, r io.ReaderAt, size int64) error {
	if err := v.add(file, r, size); err != nil {
		return fmt.Errorf("wheel %s: %w", path.Base(file), err)
	}
	return nil
}

func (v *Virtualenv) add(file string, r io.ReaderAt, size int64) error {
	name, err := ParseName(file)
	if err != nil {
		return err
	}
	z, err := open(r, size)
	if err != nil {
		return err
	}
	defer v.leave() // nothing is written through it
	d := &dist{name: path.Base(file), record: make(map[string]line)}
	data, err := v.describe(d, z, name)
	if err != nil {
		return err
	}
	for _, f := range z.File {
		if strings.HasSuffix(f.Name, "/") {
			continue
		}
		if err := v.unpack(d, f, data); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	if err := v.claim(d); err != nil {
		return err
	}
	v.dists = append(v.dists, d)
	return nil
}

// describe reads the wheel's metadata. data is the directory of the files that belong outside the
// packages.
func (v *Virtualenv) describe(d *dist, z *zip.Reader, name Name) (data string, err error) {
	if d.info, err = infoOf(z); err != nil {
		return "", err
	}
	data = strings.TrimSuffix(d.info, ".dist-info") + ".data"
	if distribution, _, _ := strings.Cut(data, "-"); normal(distribution) != normal(name.Distribution) {
		return "", fmt.Errorf("it holds %s, which is not what its name says", distribution)
	}
	text, err := readText(z, d.info+"/WHEEL")
	if err != nil {
		return "", err
	}
	if d.lib, err = v.library(text); err != nil {
		return "", err
	}
	if text, err = readText(z, d.info+"/entry_points.txt"); err == nil {
		d.scripts, err = entryPoints(text)
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return data, err
}

// infoOf returns the wheel's directory of metadata.
func infoOf(z *zip.Reader) (info string, err error) {
	for _, f := range z.File {
		top, rest, _ := strings.Cut(f.Name, "/")
		if rest == "WHEEL" && strings.HasSuffix(top, ".dist-info") {
			if info != "" {
				return "", errors.New("it has two directories of metadata")
			}
			info = top
		}
	}
	if info == "" {
		return "", errors.New("it is not a wheel: it has no file WHEEL")
	}
	return info, nil
}

// library returns the directory of the wheel's packages, as its file WHEEL names it.
func (v *Virtualenv) library(text string) (string, error) {
	lib := v.scheme.Platlib
	for l := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(l), ":")
		switch value = strings.TrimSpace(value); strings.ToLower(key) {
		case "wheel-version":
			if major, _, _ := strings.Cut(value, "."); major != "1" {
				return "", fmt.Errorf("its format has version %s, and only 1 is supported", value)
			}
		case "root-is-purelib":
			if strings.EqualFold(value, "true") {
				lib = v.scheme.Purelib
			}
		}
	}
	return lib, nil
}

// normal returns the normalized name of a distribution (PEP 503).
func normal(name string) string {
	separator := func(r rune) bool { return r == '-' || r == '_' || r == '.' }
	return strings.ToLower(strings.Join(strings.FieldsFunc(name, separator), "-"))
}

func readText(z *zip.Reader, name string) (string, error) {
	at := slices.IndexFunc(z.File, func(f *zip.File) bool { return f.Name == name })
	if at < 0 {
		return "", fs.ErrNotExist
	}
	r, err := z.File[at].Open()
	if err != nil {
		return "", err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, textLimit+1))
	if len(text) > textLimit {
		err = errors.New("it is too long")
	}
	return string(text), err
}

// unpack writes one file of the wheel.
func (v *Virtualenv) unpack(d *dist, f *zip.File, data string) error {
	if err := checkPath(f.Name); err != nil {
		return err
	}
	rel := strings.TrimPrefix(f.Name, d.info+"/")
	if rel != f.Name && (rel == "RECORD" || strings.HasPrefix(rel, "RECORD.") || rel == "INSTALLER") {
		return nil // Finish writes them
	}
	name, isScript, err := v.place(d, f.Name, data)
	if err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if f.Mode().IsRegular() && f.Mode()&0o111 != 0 || isScript {
		mode = 0o755
	}
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	content := bufio.NewReader(r)
	if isScript {
		if head, _ := content.Peek(len(placeholder)); string(head) == placeholder {
			d.scripts = append(d.scripts, script{file: name, own: true})
		}
	}
	l, err := v.write(d, name, mode, content, int64(f.UncompressedSize64))
	d.record[name] = l
	return err
}

func checkPath(name string) error {
	if !fs.ValidPath(name) || strings.Contains(name, `\`) || !plain.IsLine(name) {
		return errors.New("its path leads outside, or is not printable")
	}
	if strings.Count(name, "/") > dirsLimit {
		return fmt.Errorf("it is more than %d directories deep", dirsLimit)
	}
	return nil
}

// place returns the path at which a file of the wheel is installed, and whether it is a script.
func (v *Virtualenv) place(d *dist, name, data string) (string, bool, error) {
	rest, ok := strings.CutPrefix(name, data+"/")
	if !ok {
		return path.Join(d.lib, name), false, nil
	}
	kind, rest, ok := strings.Cut(rest, "/")
	if !ok {
		return "", false, errors.New("it has no destination")
	}
	switch kind {
	case "purelib":
		return path.Join(v.scheme.Purelib, rest), false, nil
	case "platlib":
		return path.Join(v.scheme.Platlib, rest), false, nil
	case "scripts":
		return path.Join(v.scheme.Scripts, rest), true, nil
	case "data":
		return rest, false, nil
	case "headers":
		distribution, _, _ := strings.Cut(data, "-")
		return path.Join(v.scheme.Headers, distribution, rest), false, nil
	}
	return "", false, fmt.Errorf("unknown destination %q", kind)
}

// write writes a file of a wheel and returns its line of RECORD. The file must have size bytes.
func (v *Virtualenv) write(d *dist, name string, mode fs.FileMode, r io.Reader, size int64) (line, error) {
	f, err := v.create(d, name, mode)
	if err != nil {
		return line{}, err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, sum), io.LimitReader(r, size+1))
	if err == nil && n != size {
		err = fmt.Errorf("it does not have the %d bytes that the archive lists", size)
	}
	err = errors.Join(err, f.Chmod(mode), f.Close()) // independent of the umask
	return line{"sha256=" + base64.RawURLEncoding.EncodeToString(sum.Sum(nil)), n}, err
}

// create creates a new file. If two wheels contain it, the later one wins, as with pip.
func (v *Virtualenv) create(d *dist, name string, mode fs.FileMode) (*os.File, error) {
	owner, taken := v.owners[name]
	switch {
	case taken && owner == "":
		return nil, fmt.Errorf("it would replace %s, which is the virtualenv's own", name)
	case taken && owner == d.name:
		return nil, fmt.Errorf("%s occurs twice", name)
	case taken:
		if err := v.root.Remove(name); err != nil {
			return nil, err
		}
		v.Conflicts = append(v.Conflicts, fmt.Sprintf("%s is in %s and in %s, which wins", name, owner, d.name))
		for _, other := range v.dists {
			delete(other.record, name)
		}
	}
	if len(v.owners) > filesLimit {
		return nil, fmt.Errorf("there are more than %d files in the wheels", filesLimit)
	}
	if err := v.enter(path.Dir(name)); err != nil {
		return nil, err
	}
	v.owners[name] = d.name
	return v.dir.OpenFile(path.Base(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
}

// enter opens the directory in which the next files are created.
func (v *Virtualenv) enter(name string) error {
	if v.dir != nil && v.dirName == name {
		return nil
	}
	if err := v.root.MkdirAll(name, 0o755); err != nil {
		return err
	}
	dir, err := v.root.OpenRoot(name)
	if err != nil {
		return err
	}
	err = v.leave()
	v.dir, v.dirName = dir, name
	return err
}

// leave closes that directory.
func (v *Virtualenv) leave() error {
	if v.dir == nil {
		return nil
	}
	err := v.dir.Close()
	v.dir = nil
	return err
}
