package plain

import "strconv"

// Count returns a number with its noun, such as "1 problem" or "3 problems".
func Count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}
