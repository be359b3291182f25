package main

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"strconv"
	"time"
)

// raw is every request that was sent, as compressed CSV.
func raw(list []played) ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	w := csv.NewWriter(z)
	_ = w.Write([]string{"peer", "way", "client", "request", "due_ms", "took_ms", "outcome", "release"}) // Error tells
	for _, p := range list {
		for _, s := range p.strips {
			for i, turn := range s.turns {
				_ = w.Write([]string{p.name, s.way, "", "switch", millis(turn.asked.Sub(s.result.Began)), "", "", names[(i+1)%2]})
			}
			for _, r := range s.result.Records {
				_ = w.Write([]string{
					p.name, s.way, kinds[kindOf(&r)], s.result.Shapes[r.Shape].Name, millis(r.Due.Sub(s.result.Began)),
					millis(r.Took()), r.Failure.String(), r.Release,
				})
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

func millis(d time.Duration) string {
	return strconv.FormatFloat(float64(d.Microseconds())/1000, 'f', 1, 64)
}
