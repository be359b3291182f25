//go:build linux

package cli

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"superctl/api"
)

// options maps flags of a command line to their values.
type options map[string]string

func (o options) parse() (*api.Canary, error) {
	return parseCanary(o["canary"], o["canary-from"], o["for"], o["check"], func(flag string) bool {
		_, ok := o[flag]
		return ok
	})
}

func TestACanaryIsReadFromItsFlags(t *testing.T) {
	networks := func(list ...string) (all []netip.Prefix) {
		for _, n := range list {
			all = append(all, netip.MustParsePrefix(n))
		}
		return all
	}
	for name, tc := range map[string]struct {
		given options
		want  *api.Canary
	}{
		"none":    {options{}, nil},
		"a share": {options{"canary": "5%"}, &api.Canary{Steps: []int{500}, For: time.Minute}},
		"steps": {options{"canary": "0.01%, 1 %,12.5%,100%", "for": "90s"}, &api.Canary{
			Steps: []int{1, 100, 1250, 10000}, For: 90 * time.Second,
		}},
		"a fine one": {options{"canary": "0.29%"}, &api.Canary{Steps: []int{29}, For: time.Minute}},
		"a check": {options{"canary": "5%", "check": `sh -c "exit 0"`}, &api.Canary{
			Steps: []int{500}, For: time.Minute, Check: []string{"sh", "-c", "exit 0"},
		}},
		"networks": {options{"canary-from": "10.0.0.0/8, 2001:db8::/32,203.0.113.9/32"}, &api.Canary{
			Networks: networks("10.0.0.0/8", "2001:db8::/32", "203.0.113.9/32"), For: time.Minute,
		}},
		"both": {options{"canary": "1%", "canary-from": "::1/128"}, &api.Canary{
			Steps: []int{100}, Networks: networks("::1/128"), For: time.Minute,
		}},
		"everybody": {options{"canary-from": "0.0.0.0/0,::/0"}, &api.Canary{
			Networks: networks("0.0.0.0/0", "::/0"), For: time.Minute,
		}},
		"a mapped one": {options{"canary-from": "::ffff:10.0.0.0/104"}, &api.Canary{
			Networks: networks("::ffff:10.0.0.0/104"), For: time.Minute,
		}},
		"a day of them": {options{"canary": "5%", "for": "24h"}, &api.Canary{Steps: []int{500}, For: 24 * time.Hour}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := tc.given.parse()
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("%+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestAnInvalidCanaryIsRefusedWithACorrection(t *testing.T) {
	for _, tc := range []struct {
		given options
		says  string
	}{
		{options{"canary": ""}, `invalid share "": use one such as 5%`},
		{options{"canary": "5"}, `invalid share "5": use one such as 5%`},
		{options{"canary": "0%"}, "invalid share 0%: use 0.01% to 100%"},
		{options{"canary": "-1%"}, "invalid share -1%: use 0.01% to 100%"},
		{options{"canary": "101%"}, "invalid share 101%: use 0.01% to 100%"},
		{options{"canary": "0.001%"}, "invalid share 0.001%: use 0.01% to 100%"},
		{options{"canary": "NaN%"}, "use 0.01% to 100%"},
		{options{"canary": "Inf%"}, "use 0.01% to 100%"},
		{options{"canary": "half"}, `invalid share "half"`},
		{options{"canary": "1%,"}, `invalid share ""`},
		{options{"canary": "10%,5%"}, "each step must be larger than the one before"},
		{options{"canary": "5%,5%"}, "each step must be larger than the one before"},
		{options{"for": "2m"}, "--for needs a canary: add --canary"},
		{options{"check": "true"}, "--check needs a canary: add --canary"},
		{options{"canary": "5%", "for": "2"}, "invalid duration: use a form such as 30s or 2m"},
		{options{"canary": "5%", "for": "0s"}, "use more than 0s"},
		{options{"canary": "5%", "for": "-1m"}, "use more than 0s"},
		{options{"canary": "5%", "for": "25h"}, "at most 24h"},
		{options{"canary": "5%", "check": ""}, "--check \"\": no command: use a command"},
		{options{"canary": "5%", "check": `sh -c "`}, "use a command"},
		{options{"canary-from": ""}, `invalid network "": use a form such as`},
		{options{"canary-from": "office"}, `invalid network "office"`},
		{options{"canary-from": "10.0.0.0/33"}, "invalid network"},
		{options{"canary-from": "10.0.0.0/8,"}, `invalid network ""`},
		{options{"canary-from": "10.1.2.3"}, "is an address, not a network: use 10.1.2.3/32 for this address alone"},
		{options{"canary-from": "2001:db8::5"}, "use 2001:db8::5/128 for this address alone"},
		{options{"canary-from": "fe80::1%eth0"}, "invalid network"},
		{options{"canary-from": "10.1.2.3/8"}, "use 10.0.0.0/8 for the network or 10.1.2.3/32 for the address alone"},
		{
			options{"canary-from": "2001:db8::5/32"},
			"use 2001:db8::/32 for the network or 2001:db8::5/128 for the address alone",
		},
		{options{"canary-from": strings.Join(slices.Repeat([]string{"10.0.0.0/8"}, 201), ",")}, "at most 200"},
	} {
		t.Run(tc.says, func(t *testing.T) {
			if c, err := tc.given.parse(); err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%v: %+v, %v", tc.given, c, err)
			}
		})
	}
}
