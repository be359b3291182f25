package plain

import "fmt"

// Count returns a number with its noun, such as "1 problem" or "3 problems".
func Count[N int | int64 | uint64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
