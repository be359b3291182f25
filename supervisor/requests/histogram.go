package requests

import (
	"encoding/json"
	"fmt"
	"math"
	"math/bits"
	"time"
)

// Histogram counts durations in cells that grow with the duration: 4.096 us wide up to 131 us, then
// 16 cells an octave. The middle of a cell is at most 3.2 % from every duration in it from 65 us on.
// The last cell also has all that took longer, from 17 minutes on.
type Histogram [400]uint64

const (
	unit   = 12 // bits of a nanosecond that are dropped: 4.096 us
	octave = 16 // cells
)

// cell returns the cell of a duration.
func cell(d time.Duration) int {
	v := uint64(max(0, d)) >> unit
	e := bits.Len64(v) - 5
	if e < 0 {
		return int(v) //nolint:gosec // below 16
	}
	return min(e*octave+int(v>>e), len(Histogram{})-1) //nolint:gosec // v>>e is below 32
}

// middle returns the duration in the middle of a cell.
func middle(cell int) time.Duration {
	e := max(0, cell/octave-1)
	low := uint64(cell-e*octave) << e << unit //nolint:gosec // a cell is never negative
	return time.Duration(low + 1<<(e+unit)/2) //nolint:gosec // the last one is 18 minutes
}

// Count returns the number of durations.
func (h *Histogram) Count() (n uint64) {
	for _, c := range h {
		n += c
	}
	return n
}

// Quantile returns the duration within which the given part of the requests was answered, such as
// 0.99; 0 if there were none. Between 65 us and 17 minutes it is within 3.2 % of the exact value.
func (h *Histogram) Quantile(q float64) time.Duration {
	n := h.Count()
	if n == 0 {
		return 0
	}
	rank := max(1, uint64(math.Ceil(q*float64(n))))
	for i, c := range h {
		if c >= rank {
			return middle(i)
		}
		rank -= c
	}
	return middle(len(h) - 1)
}

// Within returns how many durations are at most d, to within the width of a cell.
func (h *Histogram) Within(d time.Duration) (n uint64) {
	for i, c := range h {
		if middle(i) <= d {
			n += c
		}
	}
	return n
}

// Doubling returns the durations in cells that double: up to first, up to twice as much, and so on. It
// ends with the cell of the longest duration.
func (h *Histogram) Doubling(first time.Duration) (cells []uint64) {
	limit, at := first, 0
	for i, n := range h {
		for middle(i) > limit {
			limit, at = 2*limit, at+1
		}
		if n > 0 {
			cells = append(cells, make([]uint64, at+1-len(cells))...)
			cells[at] += n
		}
	}
	return cells
}

// Sum returns the sum of all durations. Between 65 us and 17 minutes it is within 3.2 % of the exact
// value.
func (h *Histogram) Sum() (sum time.Duration) {
	for i, c := range h {
		sum += time.Duration(c) * middle(i) //nolint:gosec // 292 years in total
	}
	return sum
}

// Cells returns the cells that are not empty, by their number.
func (h *Histogram) Cells() map[int]uint64 {
	cells := make(map[int]uint64)
	for i, n := range h {
		if n > 0 {
			cells[i] = n
		}
	}
	return cells
}

// FromCells returns the histogram with these cells.
func FromCells(cells map[int]uint64) (h Histogram, err error) {
	for i, n := range cells {
		if i < 0 || i >= len(h) {
			return Histogram{}, fmt.Errorf("a histogram has no cell %d", i)
		}
		h[i] = n
	}
	return h, nil
}

// MarshalJSON writes Cells.
func (h Histogram) MarshalJSON() ([]byte, error) { return json.Marshal(h.Cells()) }

// UnmarshalJSON reads what MarshalJSON writes.
func (h *Histogram) UnmarshalJSON(data []byte) error {
	var cells map[int]uint64
	if err := json.Unmarshal(data, &cells); err != nil {
		return err
	}
	read, err := FromCells(cells)
	if err == nil {
		*h = read
	}
	return err
}
