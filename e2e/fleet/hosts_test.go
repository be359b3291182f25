package fleet

import "testing"

func TestTheOperatorReachesEveryHost(t *testing.T) {
	f := clean(t)
	for _, h := range f.Hosts {
		h.SSH(t, "sudo -n superctl --app shop status && hostname").Want(0).Says("shop: 1, ok").Says(h.Name)
	}
}

func TestACutCableAndAStoppedSSHDAreMended(t *testing.T) {
	f := clean(t)
	web1, web2 := f.Hosts[0], f.Hosts[1]
	web1.Cut(t)
	web2.Refuse(t)
	web1.SSH(t, "true").Want(255)
	web2.SSH(t, "true").Want(255).Says("Connection refused")
	web1.Mend(t)
	web2.Mend(t)
	web1.SSH(t, "true").Want(0)
	web2.SSH(t, "true").Want(0)
}

func TestSwitchesOfAllHostsLoseNothingThroughNginx(t *testing.T) {
	f := clean(t)
	r := f.Load(t)
	must(t, r.WaitMore(t.Context(), 100))
	for _, release := range []string{"2", "3", "1"} {
		f.Each(t, func(h *Host) { h.Superctl(t, "switch", release).Want(0) })
	}
	if result := r.Stop(); len(result.Failed()) > 0 {
		t.Errorf("requests were lost: %s", result)
	}
}
