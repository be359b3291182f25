//go:build linux

package console

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

func TestAWriteToAStalledReaderTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		p := &timeoutWriter{w: w, limit: readerTime}
		began := time.Now()
		if _, err := p.Write([]byte("verdict")); !errors.Is(err, errStalled) || time.Since(began) != readerTime {
			t.Errorf("the first write ended after %s with %v", time.Since(began), err)
		}
		began = time.Now()
		if _, err := p.Write([]byte("more")); !errors.Is(err, errStalled) || time.Since(began) != 0 || !p.hasStalled() {
			t.Errorf("the second write ended after %s with %v", time.Since(began), err)
		}
		_ = r.Close()
		synctest.Wait()
	})
}

func TestASlowReaderGetsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		p := &timeoutWriter{w: w, limit: readerTime}
		got := make(chan string)
		go func() {
			<-time.After(readerTime - time.Second)
			data, _ := io.ReadAll(r)
			got <- string(data)
		}()
		if n, err := p.Write([]byte("verdict")); n != 7 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		_ = w.Close()
		if text := <-got; text != "verdict" || p.hasStalled() {
			t.Errorf("got %q", text)
		}
	})
}
