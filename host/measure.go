//go:build linux

package host

import (
	"context"

	"superctl/api"
	"superctl/config"
	"superctl/daemon/control"
)

// Measured is an app of this host and its figures.
type Measured struct {
	App
	Measures api.Measures // empty if the daemon did not answer
}

// Measure returns the figures of all apps of this host, as Ask returns their status.
func Measure(ctx context.Context) ([]Measured, error) {
	places, err := config.Places()
	return askAll(ctx, places, measure), err
}

func measure(ctx context.Context, p config.Place) (of Measured) {
	of.App = askWith(ctx, p, func(ctx context.Context, c *control.Client) (*api.Status, error) {
		m, err := c.Measures(ctx)
		of.Measures = m
		return &of.Measures.Status, err
	})
	return of
}
