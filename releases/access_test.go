package releases

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWhatIsImmutableIsNotWritable(t *testing.T) {
	for _, tc := range []struct{ effective, realUser, want error }{
		{nil, nil, nil},
		{nil, unix.EPERM, unix.EPERM}, // immutable
		{nil, unix.EACCES, nil},       // only the effective user may write
		{unix.EACCES, nil, unix.EACCES},
		{unix.EROFS, unix.EROFS, unix.EROFS},
	} {
		if got := whyDenied(tc.effective, tc.realUser); !errors.Is(got, tc.want) {
			t.Errorf("%v for the effective user and %v for the real one: %v", tc.effective, tc.realUser, got)
		}
	}
}
