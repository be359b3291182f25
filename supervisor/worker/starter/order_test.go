package starter

import (
	"reflect"
	"testing"
)

func TestAnOrderComesBackAsItWas(t *testing.T) {
	for _, o := range []Order{
		{},
		{Path: "/bin/true", Args: []string{"true"}, Dir: "/", User: &Credential{UID: 1<<32 - 1}},
		{
			Path: "/bin/\xff", Args: []string{"a\xfe", "", "1:2"}, Env: []string{"SECRET=\xe9", "N=a\x00b"},
			Secrets: Secrets{"A": "/a", "B": ""}, Dir: "/d\xff", User: &Credential{UID: 1, GID: 2, Groups: []uint32{3, 4}},
			NoFile: 1<<64 - 1, Cgroup: "/sys/\xff",
		},
	} {
		if back, err := decode(string(o.Encode())); err != nil || !reflect.DeepEqual(*back, o) {
			t.Errorf("%+v, %v, want %+v", back, err, o)
		}
	}
}

func TestAnOrderThatIsCutShortIsRefused(t *testing.T) {
	o := Order{
		Path: "/bin/true", Args: []string{"true"}, Env: []string{"A=b"}, Secrets: Secrets{"A": "/a"}, Dir: "/",
		User: &Credential{UID: 1, Groups: []uint32{3}}, NoFile: 4, Cgroup: "/c",
	}
	whole := string(o.Encode())
	for n := range whole {
		if got, err := decode(whole[:n]); err == nil {
			t.Errorf("%q is read as %+v", whole[:n], got)
		}
	}
	if got, err := decode(whole + "0:"); err == nil {
		t.Errorf("with something after its end it is read as %+v", got)
	}
}
