package config

import (
	"maps"
	"reflect"
	"slices"

	"superctl/notify"
)

// notifyTable is [notify.NAME]. Which keys are allowed depends on the service.
type notifyTable struct {
	Service      string         `toml:"service"`
	On           []notify.Event `toml:"on"`
	URL          string         `toml:"url"`
	URLFile      string         `toml:"url_file"`
	TokenFile    string         `toml:"token_file"`
	PasswordFile string         `toml:"password_file"`
	Credential   string         `toml:"credential"`
	Host         string         `toml:"host"`
	TLS          string         `toml:"tls"`
	From         string         `toml:"from"`
	To           []string       `toml:"to"`
	Username     string         `toml:"username"`
	Organization string         `toml:"organization"`
	Projects     []string       `toml:"projects"`
	Environment  string         `toml:"environment"`
	BaseURL      string         `toml:"base_url"`
	Version      string         `toml:"version"`
	Repository   string         `toml:"repository"`
	Entity       string         `toml:"entity"`
	Region       string         `toml:"region"`
	Site         string         `toml:"site"`
	Tags         []string       `toml:"tags"`
}

func (l *loader) notify() {
	for _, name := range slices.Sorted(maps.Keys(l.f.Notify)) {
		t, key := l.f.Notify[name], "notify."+name
		if !isItemName(name) {
			l.at(key, "notify.%q: use letters, digits, - and _, at most 32", name)
		}
		target := notify.Target{
			Name: name, Service: t.Service, On: t.On, URL: t.URL, Credential: t.Credential,
			URLFile: l.path(key+".url_file", t.URLFile), TokenFile: l.path(key+".token_file", t.TokenFile),
			PasswordFile: l.path(key+".password_file", t.PasswordFile),
			Host:         t.Host, TLS: t.TLS, From: t.From, Username: t.Username, To: t.To,
			Organization: t.Organization, Environment: t.Environment, BaseURL: t.BaseURL, Version: t.Version,
			Repository: t.Repository, Projects: t.Projects,
			Entity: t.Entity, Region: t.Region, Site: t.Site, Tags: t.Tags,
		}
		for _, p := range target.Problems(t.keys()) {
			if p.Key == "" {
				l.at(key, "notify.%s: %s", name, p.Text)
			} else {
				l.at(key+"."+p.Key, "%s", p.Text)
			}
		}
		l.c.Notify = append(l.c.Notify, target)
	}
}

// keys returns the keys that a table has.
func (t *notifyTable) keys() (list []string) {
	v := reflect.ValueOf(*t)
	for i, key := range tags(v.Type()) {
		if f := v.Field(i); !f.IsZero() {
			list = append(list, key)
		}
	}
	return list
}
