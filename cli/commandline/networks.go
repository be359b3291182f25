package commandline

import (
	"fmt"
	"net/netip"
	"strings"
)

// Networks parses the value of a flag that names networks, and returns an error that names the flag.
func Networks(flag, text string) (list []netip.Prefix, err error) {
	for word := range strings.SplitSeq(text, ",") {
		word = strings.TrimSpace(word)
		network, err := netip.ParsePrefix(word)
		if host, one := netip.ParseAddr(word); one == nil && host.Zone() == "" {
			return nil, fmt.Errorf(
				"--%s %s: %s is an address, not a network: use %s for this address alone", flag, text, word,
				netip.PrefixFrom(host, host.BitLen()),
			)
		}
		if err != nil {
			return nil, fmt.Errorf(
				"--%s %s: invalid network %q: use a form such as 10.0.0.0/8 or 2001:db8::/32", flag, text, word,
			)
		}
		if network != network.Masked() {
			return nil, fmt.Errorf(
				"--%s %s: %s has bits after its prefix: use %s for the network or %s for the address alone",
				flag, text, word, network.Masked(), netip.PrefixFrom(network.Addr(), network.Addr().BitLen()),
			)
		}
		list = append(list, network)
	}
	return list, nil
}
