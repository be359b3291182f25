package main

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"strconv"
	"time"
)

// raw writes every request and every switch as compressed CSV. The time of a line is relative to
// the previous line of the same client, and the first to the beginning of the load, which takes a
// third of the bytes.
func raw(list []played) ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	w := csv.NewWriter(z)
	// Error tells
	_ = w.Write([]string{"peer", "way", "client", "request", "due_ms_after", "took_ms", "outcome", "release"})
	for _, p := range list {
		for _, s := range p.strips {
			var before int64
			line := func(client, request string, due time.Time, rest ...string) {
				at := due.Sub(s.result.Began).Milliseconds()
				_ = w.Write(append([]string{p.name, s.way, client, request, strconv.FormatInt(at-before, 10)}, rest...))
				before = at
			}
			for i, turn := range s.turns {
				line("", "switch", turn.asked, "", "", names[(i+1)%2])
			}
			for kind, client := range kinds {
				before = 0
				for _, r := range s.result.Records {
					if kindOf(&r) == kind {
						line(
							client, s.result.Shapes[r.Shape].Name, r.Due,
							strconv.FormatInt(r.Took().Milliseconds(), 10), r.Failure.String(), r.Release,
						)
					}
				}
			}
		}
	}
	w.Flush()
	if err := w.Error(); err != nil {
		return nil, err
	}
	err = z.Close()
	return b.Bytes(), err
}
