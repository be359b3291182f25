package api

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// MaintenancePageLimit is the size in bytes of the largest maintenance page. Its server holds it in
// memory, and the browsers of all users load it.
const MaintenancePageLimit = 256 << 10

// maxRetryAfter is more than any maintenance lasts.
const maxRetryAfter = 30 * 24 * time.Hour

// MaintenancePage is what users get while the app is in maintenance.
type MaintenancePage struct {
	Body       []byte         `json:"body,omitempty"`  // HTML; empty = superctl's own page
	RetryAfter time.Duration  `json:"retry_after"`     // of the Retry-After header
	Allow      []netip.Prefix `json:"allow,omitempty"` // networks that reach the app
}

// Validate returns an error unless the page can be shown.
func (p *MaintenancePage) Validate() error {
	switch {
	case len(p.Body) > MaintenancePageLimit:
		return fmt.Errorf("the page is larger than %d KiB, the limit of a maintenance page", MaintenancePageLimit>>10)
	case p.RetryAfter < time.Second || p.RetryAfter > maxRetryAfter:
		return fmt.Errorf("invalid time for Retry-After: %s: use 1s to 720h, such as 10m", p.RetryAfter)
	case len(p.Allow) > maxNetworks:
		return fmt.Errorf("too many networks: %d: use at most %d, larger ones", len(p.Allow), maxNetworks)
	}
	for _, n := range p.Allow {
		if !n.IsValid() || n != n.Masked() {
			return errors.New(n.String() + " is no network: use a form such as 203.0.113.0/24 or 2001:db8::/32")
		}
	}
	return nil
}

// Sum identifies the page: the SHA-256 of its body in hexadecimal digits, and "" for superctl's own page.
func (p *MaintenancePage) Sum() string {
	if len(p.Body) == 0 {
		return ""
	}
	sum := sha256.Sum256(p.Body)
	return hex.EncodeToString(sum[:])
}

// MaintenanceStatus is the maintenance that an app is in.
type MaintenanceStatus struct {
	Since time.Time `json:"since"`
	Who   string    `json:"who"` // who turned it on
	Origin
	RetryAfter time.Duration  `json:"retry_after"`     // of the Retry-After header, in nanoseconds
	Allow      []netip.Prefix `json:"allow,omitempty"` // networks that reach the app
	Page       string         `json:"page,omitempty"`  // SHA-256 of the page; "" = superctl's own
	Generation int            `json:"generation"`      // its number; 0 = the page is being started again
	// Health is what the health of the app would be if maintenance did not count: "ok", "degraded" or "down".
	Health string `json:"health,omitempty"`
	// Hold reports that a switch or rollback turned it on by itself: it holds connections for longer than it
	// should, and new ones get the page until the app serves (hold_page). Who began that change.
	Hold bool `json:"hold,omitempty"`
}

// The values of Outcome.Maintenance.
const (
	MaintenanceOn  = "on"
	MaintenanceOff = "off"
)

// InMaintenance is the GenerationStatus.State of the generation that shows the maintenance page.
const InMaintenance = "maintenance"
