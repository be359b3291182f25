package takeover

import (
	"testing"
)

func TestARunningServerIsReplacedWithoutLoss(t *testing.T) {
	for name, o := range map[string]old{
		"gunicorn sync": gunicorn(""),
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, o)
			s.takeover().Want(0).Says("Nothing was changed")
			requests := s.load(t)
			out := s.takeover("--apply").Want(0)
			out.Says("is live on " + s.Address)
			t.Logf("%s\n%d requests", out.Text(), s.lossless(t, requests))
			s.wantTakenOver(t)
			s.takeover("--apply").Want(0).Says("nothing to do")
		})
	}
}
