// Package api is what superctl's daemon and its clients say to each other: requests, the events and
// the outcome of a change, and status. Its JSON is a contract with users' scripts, and with daemons
// and clients of other versions: a field keeps its name and its meaning for good, and new ones may
// be added.
//
// It holds words and no behaviour: it does not connect (daemon/control does), and does not decide
// (supervisor does). It needs the standard library alone.
package api
