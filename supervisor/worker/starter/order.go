package starter

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"syscall"
)

// Order says what a starter becomes.
type Order struct {
	Path    string // of the program
	Args    []string
	Env     []string
	Secrets Secrets // of the environment too
	Dir     string
	User    *Credential // nil = the daemon's own
	NoFile  uint64      // RLIMIT_NOFILE; 0 = as the daemon has it
	Cgroup  string      // directory of the control group to be in; "" = the daemon's own
}

// Credential is the user that a worker runs as. It takes effect only when the daemon is root.
type Credential struct {
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups,omitempty"`
}

// errNoOrder is the error when a text is not an order.
var errNoOrder = errors.New("not an order")

// Encode returns the order as the starter reads it.
func (o *Order) Encode() []byte {
	var e encoder
	e.text(o.Path)
	e.texts(o.Args)
	e.texts(o.Env)
	e.number(uint64(len(o.Secrets)))
	for _, name := range slices.Sorted(maps.Keys(o.Secrets)) {
		e.text(name)
		e.text(o.Secrets[name])
	}
	e.text(o.Dir)
	e.number(o.NoFile)
	e.text(o.Cgroup)
	if o.User == nil {
		e.number(0)
		return e
	}
	e.number(1)
	e.number(uint64(o.User.UID))
	e.number(uint64(o.User.GID))
	e.number(uint64(len(o.User.Groups)))
	for _, g := range o.User.Groups {
		e.number(uint64(g))
	}
	return e
}

// decode returns the order that Encode has written.
func decode(data string) (*Order, error) {
	d := decoder{rest: data}
	o := &Order{Path: d.text(), Args: d.texts(), Env: d.texts()}
	for n := d.number(); n > 0 && !d.bad; n-- {
		if o.Secrets == nil {
			o.Secrets = Secrets{}
		}
		name := d.text()
		o.Secrets[name] = d.text()
	}
	o.Dir, o.NoFile, o.Cgroup = d.text(), d.number(), d.text()
	if d.number() == 1 {
		o.User = &Credential{UID: uint32(d.number()), GID: uint32(d.number())}
		for n := d.number(); n > 0 && !d.bad; n-- {
			o.User.Groups = append(o.User.Groups, uint32(d.number()))
		}
	}
	if d.bad || d.rest != "" {
		return nil, errNoOrder
	}
	return o, nil
}

// An order is a sequence of texts, each as its length, a colon and its bytes. A number is a text,
// and before a list comes the number of its elements.

type encoder []byte

func (e *encoder) text(s string) {
	*e = strconv.AppendInt(*e, int64(len(s)), 10)
	*e = append(append(*e, ':'), s...)
}

func (e *encoder) number(n uint64) { e.text(strconv.FormatUint(n, 10)) }

func (e *encoder) texts(list []string) {
	e.number(uint64(len(list)))
	for _, s := range list {
		e.text(s)
	}
}

type decoder struct {
	rest string
	bad  bool // rest does not begin with what was asked for, now or earlier
}

func (d *decoder) text() string {
	colon := 0
	for colon < len(d.rest) && d.rest[colon] != ':' {
		colon++
	}
	n, err := strconv.Atoi(d.rest[:colon])
	if d.bad || err != nil || n < 0 || n >= len(d.rest)-colon {
		d.bad = true
		return ""
	}
	s := d.rest[colon+1 : colon+1+n]
	d.rest = d.rest[colon+1+n:]
	return s
}

func (d *decoder) number() uint64 {
	n, err := strconv.ParseUint(d.text(), 10, 64)
	d.bad = d.bad || err != nil
	return n
}

func (d *decoder) texts() (list []string) {
	for n := d.number(); n > 0 && !d.bad; n-- {
		list = append(list, d.text())
	}
	return list
}

// read reads an order from a descriptor and closes it.
func read(fd int) (*Order, error) {
	data, err := readAll(fd, -1)
	if err != nil {
		return nil, err
	}
	return decode(string(data))
}

// readAll reads a descriptor to its end, but at most limit bytes if limit is not negative, and
// closes it.
func readAll(fd, limit int) ([]byte, error) {
	data := make([]byte, 0, 4096)
	for limit < 0 || len(data) < limit {
		data = slices.Grow(data, 1)
		room := data[len(data):cap(data)]
		if limit >= 0 {
			room = room[:min(len(room), limit-len(data))]
		}
		n, err := syscall.Read(fd, room)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			_ = syscall.Close(fd)
			return nil, err
		}
		if n == 0 {
			break
		}
		data = data[:len(data)+n]
	}
	return data, syscall.Close(fd)
}
