//go:build !amd64 && !arm64

package drainhook

// native is empty: the module does everything in Python.
var native []byte //nolint:gochecknoglobals // embedded on the other architectures
