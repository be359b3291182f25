package drainhook

import _ "embed"

// native is the part of the module in C for Python on this architecture, with glibc or musl.
//
//go:embed native/hook_arm64.so
var native []byte
