package install

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"superctl/releases/bundle"
)

func TestThePackagesOfABundleAreItsWheels(t *testing.T) {
	m := &bundle.Manifest{Members: []bundle.Member{
		{Path: "project/wheels/old-1.0-py3-none-any.whl"},
		{Path: "project/manage.py"},
		{Path: "wheels/Zope.Interface-7.0-2-cp311-cp311-manylinux_2_17_x86_64.whl"},
		{Path: "wheels/django-5.2-py3-none-any.whl"},
	}}
	want := map[string]string{"django": "5.2", "zope-interface": "7.0"}
	if diff := cmp.Diff(want, Packages(m)); diff != "" {
		t.Error(diff)
	}
}
