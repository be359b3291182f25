// Package api defines the messages between superctl's daemon and its clients: requests, the events
// and the outcome of a change, and status. Their JSON is a contract with users' scripts and with
// daemons and clients of other versions: fields are added, but never renamed or given another
// meaning.
//
// The package holds data and no behaviour: daemon/control connects, supervisor decides. It imports
// only the standard library.
package api
