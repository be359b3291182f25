package notify

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// maxEventAge is the age up to which Datadog (18 hours) and New Relic (24 hours) place an event at
// its own time.
const maxEventAge = 17 * time.Hour

// sendNewRelic creates a change tracking event of category Deployment (docs.newrelic.com, "Track
// changes using NerdGraph").
func sendNewRelic(ctx context.Context, c *caller, t *Target, secret string, m *Message) error {
	release, commit := m.live()
	if release == "" {
		return nil // no release is live
	}
	const mutation = `mutation($event: ChangeTrackingCreateEventInput!) { ` +
		`changeTrackingCreateEvent(changeTrackingEvent: $event) { changeTrackingEvent { changeTrackingId } messages } }`
	deployment := map[string]any{"version": release}
	if commit != "" {
		deployment["commit"] = commit
	}
	event := map[string]any{
		"categoryAndTypeData": map[string]any{
			"kind":           map[string]any{"category": "Deployment", "type": "Basic"},
			"categoryFields": map[string]any{"deployment": deployment},
		},
		"entitySearch": map[string]any{"query": "id = '" + t.Entity + "'"},
		"user":         m.who(), "shortDescription": m.title(), "description": m.Text, "groupId": m.ID,
	}
	if c.now().Sub(m.Time) < maxEventAge {
		event["timestamp"] = m.Time.UnixMilli()
	}
	host := "api.newrelic.com"
	if r := cmp.Or(t.Region, "us"); r != "us" {
		host = "api." + r + ".newrelic.com"
	}
	a, err := c.post(ctx, "https://"+host+"/graphql", map[string]string{"API-Key": secret},
		map[string]any{"query": mutation, "variables": map[string]any{"event": event}})
	if err != nil {
		return err
	}
	return nerdgraphError(a.body)
}

// nerdgraphError returns the error in an answer, whose status is always 200.
func nerdgraphError(body string) error {
	var said struct {
		Errors []struct {
			Message    string `json:"message"`
			Extensions struct {
				Class string `json:"errorClass"`
			} `json:"extensions"`
		} `json:"errors"`
		Data struct {
			Created *struct {
				Event *struct {
					ID string `json:"changeTrackingId"`
				} `json:"changeTrackingEvent"`
				Messages []string `json:"messages"`
			} `json:"changeTrackingCreateEvent"`
		} `json:"data"`
	}
	if err := json.Unmarshal([]byte(body), &said); err != nil {
		return fmt.Errorf("the answer is not JSON: %s", excerpt(body))
	}
	if len(said.Errors) > 0 {
		one := said.Errors[0]
		transient := []string{"TIMEOUT", "SERVER_ERROR", "INTERNAL_SERVER_ERROR", "TOO_MANY_REQUESTS"}
		return &failure{
			why:       "answered with an error: " + excerpt(one.Message),
			permanent: !slices.Contains(transient, one.Extensions.Class),
		}
	}
	if said.Data.Created == nil || said.Data.Created.Event == nil || said.Data.Created.Event.ID == "" {
		why := "answered, but created no event"
		if said.Data.Created != nil && len(said.Data.Created.Messages) > 0 {
			why += ": " + excerpt(said.Data.Created.Messages[0])
		}
		return &failure{why: why, permanent: true}
	}
	return nil
}

// sendSentry creates a release, which has no effect if it exists, and a deploy of it
// (docs.sentry.io, "Create a New Release for an Organization" and "Create a Deploy"). After a
// revert, the deploy is of the release that is live again.
func sendSentry(ctx context.Context, c *caller, t *Target, secret string, m *Message) error {
	release, commit := m.live()
	if release == "" {
		return nil
	}
	version := release
	if t.Version == "commit" && commit != "" {
		version = commit
	}
	base := strings.TrimSuffix(cmp.Or(t.BaseURL, "https://sentry.io"),
		"/") + "/api/0/organizations/" + url.PathEscape(t.Organization) + "/releases/"
	auth := map[string]string{"Authorization": "Bearer " + secret}
	body := map[string]any{"version": version, "projects": t.Projects}
	if commit != "" {
		body["ref"] = commit
		if t.Repository != "" {
			ref := map[string]any{"repository": t.Repository, "commit": commit}
			if before := m.Outcome.PreviousCommit; m.Event == Success && before != "" && before != commit {
				ref["previousCommit"] = before
			}
			body["refs"] = []any{ref}
		}
	}
	if _, err := c.post(ctx, base, auth, body); err != nil {
		return fmt.Errorf("create the release: %w", err)
	}
	deploy := map[string]any{
		"environment": cmp.Or(t.Environment, "production"), "name": m.Outcome.Kind + " on " + m.Host,
		"projects":    t.Projects,
		"dateStarted": m.Outcome.Started.UTC().Format(time.RFC3339), "dateFinished": m.Time.UTC().Format(time.RFC3339),
	}
	if _, err := c.post(ctx, base+url.PathEscape(version)+"/deploys/", auth, deploy); err != nil {
		return fmt.Errorf("create the deploy: %w", err)
	}
	return nil
}

// sendDatadog posts an event (docs.datadoghq.com, Events, "Post an event", v1).
func sendDatadog(ctx context.Context, c *caller, t *Target, secret string, m *Message) error {
	kind := map[Event]string{
		Start: "info", Success: "success", Abort: "warning", Revert: "error", Down: "error",
		Degraded: "warning", OK: "success", Cron: "error", Test: "info",
	}[m.Event]
	tags := append([]string{"app:" + m.App, "service:" + m.App, "event:" + string(m.Event), "change:" + m.Outcome.Kind},
		t.Tags...)
	if release, _ := m.live(); release != "" {
		tags = append(tags, "version:"+release)
	}
	key := fmt.Sprintf("superctl:%s:%d", m.App, m.Outcome.Started.UnixNano()) // groups the events of one change
	event := map[string]any{
		"title": m.title(), "text": m.text(c.now()), "alert_type": kind, "aggregation_key": key, "host": m.Host,
		"tags": tags,
	}
	if c.now().Sub(m.Time) < maxEventAge {
		event["date_happened"] = m.Time.Unix()
	}
	site := strings.TrimPrefix(cmp.Or(t.Site, "datadoghq.com"), "app.")
	_, err := c.post(ctx, "https://api."+site+"/api/v1/events", map[string]string{"DD-API-KEY": secret}, event)
	return err
}
