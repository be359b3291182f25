//go:build linux

package cli

import (
	"slices"
	"strings"
	"testing"
)

func TestAKeyOfACIMayDeployAndNothingElse(t *testing.T) {
	for text, want := range map[string][]string{
		"deploy s3://b/shop-1.tar.zst":             {"deploy", "s3://b/shop-1.tar.zst"},
		"superctl deploy 'https://ci/a b.zst'":     {"deploy", "https://ci/a b.zst"},
		"deploy https://ci/a --wait-lock=5m":       {"deploy", "https://ci/a", "--wait-lock=5m"},
		"deploy --run 7 --by anna --json s3://b/a": {"deploy", "--run", "7", "--by", "anna", "--json", "s3://b/a"},
		"status --json":                            {"status", "--json"},
	} {
		if got, err := ciCommand(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
	for text, why := range map[string]string{
		"":          "no shell",
		"superctl":  "no shell",
		"sh -c id":  `"sh" is not allowed`,
		"exec id":   `"exec" is not allowed`,
		"switch r1": `"switch" is not allowed`,
		"ci-shell":  `"ci-shell" is not allowed`,
		"--config /tmp/mine.toml deploy s3://b/a": `"--config" is not allowed`,
		"deploy":                        "needs one URL",
		"deploy s3://b/a s3://b/c":      "needs one URL",
		"deploy /tmp/mine.tar.zst":      "only from https:// and s3://",
		"deploy http://ci/a":            "only from https:// and s3://",
		"deploy file:///tmp/a":          "only from https:// and s3://",
		"deploy s3://b/a --force":       "--force of deploy is not allowed",
		"deploy s3://b/a --older":       "--older of deploy is not allowed",
		"deploy s3://b/a --check id":    "--check of deploy is not allowed",
		"deploy s3://b/a --check=id":    "--check=id of deploy is not allowed",
		"deploy s3://b/a -check=id":     "-check=id of deploy is not allowed",
		"deploy s3://b/a -- --check id": "-- of deploy is not allowed",
		"deploy s3://b/a --run --check": "--run needs a value",
		"deploy s3://b/a --run":         "--run needs a value",
		"status --watch":                "--watch of status is not allowed",
		"deploy s3://b/a; id":           "needs one URL", // no shell reads it
		"deploy 's3://b/a":              "a quote is not closed",
	} {
		if got, err := ciCommand(text); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
}
