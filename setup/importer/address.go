package importer

import (
	"path/filepath"
	"strings"
)

// normalAddress returns an address as superctl's config writes it, or "" if it is none.
func normalAddress(text, dir string) string {
	text = withoutScheme(strings.Trim(text, `"' `), dir)
	switch {
	case text == "" || strings.ContainsAny(text, "$%{ ,") || strings.HasPrefix(text, "fd://"):
		return ""
	case strings.HasPrefix(text, "/"):
		return "unix:" + filepath.Clean(text)
	case strings.HasSuffix(text, ".sock") || strings.HasSuffix(text, ".socket"):
		if dir == "" {
			return ""
		}
		return "unix:" + filepath.Join(dir, text)
	case strings.HasPrefix(text, "*:"):
		return text[1:]
	}
	host, port, found := cutLast(text, ":")
	if !found {
		if digits(text) {
			return "127.0.0.1:" + text
		}
		host, port = text, "8000"
	}
	if !digits(port) {
		return ""
	}
	if strings.Count(host, ":") > 0 && !strings.HasPrefix(host, "[") {
		host = "[" + host + "]"
	}
	return host + ":" + port
}

// withoutScheme returns an address without its scheme, and the path of a unix socket as an absolute
// one.
func withoutScheme(text, dir string) string {
	for _, prefix := range []string{"unix://", "unix:", "http://", "tcp://"} {
		rest, ok := strings.CutPrefix(text, prefix)
		switch {
		case !ok:
			continue
		case !strings.HasPrefix(prefix, "unix"):
			return rest
		case !strings.HasPrefix(rest, "/") && dir != "":
			return filepath.Join(dir, rest)
		}
		return "/" + strings.TrimLeft(rest, "/")
	}
	return text
}

func digits(text string) bool { return text != "" && strings.Trim(text, "0123456789") == "" }

func cutLast(text, sep string) (before, after string, found bool) {
	i := strings.LastIndex(text, sep)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(sep):], true
}
