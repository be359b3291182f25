package supervisor

import (
	"cmp"
	"iter"
	"maps"
	"slices"
)

// ordered yields the entries of a map by key. What the owner does to several things at once it does
// in the same order each time: logs are easier to compare, and a run in virtual time can be
// repeated. An entry that is deleted meanwhile is left out.
func ordered[K cmp.Ordered, V any](m map[K]V) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if v, ok := m[k]; ok && !yield(k, v) {
				return
			}
		}
	}
}
