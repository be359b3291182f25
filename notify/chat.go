package notify

import (
	"context"
	"net/url"
	"strings"
)

// shoutrrr cannot send to these services. It has no deadline, hides the status and Retry-After,
// sleeps between its own retries, and supports only the Teams webhooks that Microsoft has switched
// off. A shoutrrr URL instead of the service's own still uses it.

func checkSlack(secret string) error {
	if strings.HasPrefix(secret, "slack://") {
		return checkShoutrrr(secret)
	}
	return checkHook(secret, "https://hooks.slack.com/services/T.../B.../...", func(u *url.URL) bool {
		return (u.Host == "hooks.slack.com" || u.Host == "hooks.slack-gov.com") &&
			strings.HasPrefix(u.Path, "/services/") && strings.Count(strings.Trim(u.Path, "/"), "/") == 3
	})
}

// sendSlack calls an incoming webhook (docs.slack.dev, "Sending messages using incoming webhooks").
func sendSlack(ctx context.Context, c *caller, t *Target, secret string, m *Message) error {
	if strings.HasPrefix(secret, "slack://") {
		return sendShoutrrr(ctx, c, t, secret, m)
	}
	text := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(m.text(c.now()))
	a, err := c.post(ctx, secret, nil, map[string]any{"text": text, "mrkdwn": false})
	if err == nil && strings.TrimSpace(a.body) != "ok" {
		return &failure{why: "answered without ok: " + excerpt(a.body)}
	}
	return err
}

func checkTeams(secret string) error {
	if strings.HasPrefix(secret, "teams://") {
		return checkShoutrrr(secret)
	}
	return checkHook(secret, "https://....powerplatform.com/.../workflows/...",
		func(u *url.URL) bool { return len(u.Path) > 1 })
}

// sendTeams calls a workflow of the template "When a Teams webhook request is received" with an
// adaptive card (learn.microsoft.com, "Create incoming webhooks with Workflows"). An old connector
// accepts the same.
func sendTeams(ctx context.Context, c *caller, t *Target, secret string, m *Message) error {
	if strings.HasPrefix(secret, "teams://") {
		return sendShoutrrr(ctx, c, t, secret, m)
	}
	colour := map[Event]string{
		Start: "Default", Success: "Good", Abort: "Warning", Revert: "Attention", Down: "Attention",
		Degraded: "Warning", OK: "Good", Cron: "Attention", Test: "Default",
	}[m.Event]
	a, err := c.post(ctx, secret, nil, map[string]any{
		"type": "message",
		"attachments": []any{map[string]any{
			"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": nil,
			"content": map[string]any{
				"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard",
				"version": "1.2",
				"body": []any{map[string]any{
					"type": "TextBlock", "wrap": true, "color": colour,
					"text": m.text(c.now()),
				}},
			},
		}},
	})
	// The old connectors answer 200 on failure: "Webhook message delivery failed with error:
	// Microsoft Teams endpoint returned HTTP error 429 ...".
	if err == nil && strings.Contains(a.body, "HTTP error") {
		return &failure{
			why:       "answered " + excerpt(a.body),
			permanent: strings.Contains(a.body, "HTTP error 4") && !strings.Contains(a.body, "HTTP error 429"),
		}
	}
	return err
}

func checkDiscord(secret string) error {
	if strings.HasPrefix(secret, "discord://") {
		return checkShoutrrr(secret)
	}
	return checkHook(secret, "https://discord.com/api/webhooks/...", func(u *url.URL) bool {
		host := strings.TrimPrefix(strings.TrimPrefix(u.Host, "ptb."), "canary.")
		return (host == "discord.com" || host == "discordapp.com") && strings.HasPrefix(u.Path, "/api/") &&
			strings.Contains(u.Path, "/webhooks/")
	})
}

// sendDiscord executes a webhook (discord.com/developers/docs, "Execute Webhook"). Without
// wait=true, Discord would answer before it has checked the message.
func sendDiscord(ctx context.Context, c *caller, t *Target, secret string, m *Message) error {
	if strings.HasPrefix(secret, "discord://") {
		return sendShoutrrr(ctx, c, t, secret, m)
	}
	u, err := url.Parse(secret)
	if err != nil {
		return checkDiscord(secret)
	}
	q := u.Query() // the URL may have a thread_id
	q.Set("wait", "true")
	u.RawQuery = q.Encode()
	plain := strings.NewReplacer(`\`, `\\`, "*", `\*`, "_", `\_`, "~", `\~`, "`", "\\`", "|", `\|`, ">", `\>`, "#",
		`\#`)
	_, err = c.post(ctx, u.String(), nil, map[string]any{
		"content": plain.Replace(m.text(c.now())), "allowed_mentions": map[string]any{"parse": []string{}},
	})
	return err
}

func checkWebhook(secret string) error { return checkHTTP(secret) }

// sendWebhook sends the message with the whole outcome. Its ID lets a receiver ignore duplicates.
func sendWebhook(ctx context.Context, c *caller, t *Target, secret string, m *Message) error {
	to, token := secret, ""
	if t.URL != "" {
		to, token = t.URL, secret
	}
	headers := map[string]string{"Idempotency-Key": m.ID}
	if token != "" {
		headers["Authorization"] = "Bearer " + token
	}
	_, err := c.post(ctx, to, headers, m)
	return err
}
