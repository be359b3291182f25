package requests

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The format of a page, version 1.
const (
	magic     = 0x31717253 // "Srq1"
	rowSize   = 4096       // bytes; the head is as long
	maxRows   = 255
	cellSize  = 8
	durations = 16 // first cell of the durations in a row
)

// Cells of the head.
const (
	headMagic = iota
	headPID
	headStart
	headRows
)

// Cells of a row.
const (
	rowStarted  = 0
	rowAnswered = 1 // to 5
	rowBroken   = 6
	rowAborted  = 7
)

var (
	errNoPage    = errors.New("not a page")
	errTruncated = errors.New("truncated while it was read")
)

// page is what a process has counted.
type page struct {
	pid    int
	start  uint64 // of the process, in clock ticks since boot (proc_pid_stat(5), field 22)
	counts Counts // without InFlight and Lost, which depend on whether the process still runs
}

// readPage reads the page of a file of the given size. It is read by a mapping, because the process
// writes it at the same time: an atomic load never sees half of a number, which read(2) may.
func readPage(fd int, size int64) (p page, err error) {
	if size%rowSize != 0 || size < 2*rowSize || size > (1+maxRows)*rowSize {
		return p, errNoPage
	}
	m, err := unix.Mmap(fd, 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return p, fmt.Errorf("map: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Munmap(m)) }()
	// The file's owner may truncate it now: what is behind its end then faults.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			if _, fault := r.(interface{ Addr() uintptr }); !fault {
				panic(r)
			}
			err = errTruncated
		}
	}()
	if load(m, 0, headMagic) != magic || load(m, 0, headRows) != uint64(size/rowSize-1) { //nolint:gosec // positive
		return p, errNoPage
	}
	p.pid, p.start = int(int32(load(m, 0, headPID))), load(m, 0, headStart) //nolint:gosec // a wrong pid is not found
	return p, eachRow(fd, size, func(row int) { p.counts.addRow(m, row) })
}

// readHead reads whose page a file is, without its counts.
func readHead(fd int) (pid int, start uint64, err error) {
	var head [headRows * cellSize]byte
	if n, err := unix.Pread(fd, head[:], 0); err != nil || n < len(head) {
		return 0, 0, errors.Join(errNoPage, err)
	}
	pid = int(int32(binary.LittleEndian.Uint64(head[headPID*cellSize:]))) //nolint:gosec // a wrong pid is not found
	return pid, binary.LittleEndian.Uint64(head[headStart*cellSize:]), nil
}

// eachRow calls f for each row that was written. A page is sparse: to read a row that was not would
// take memory for it.
func eachRow(fd int, size int64, f func(row int)) error {
	for at := int64(rowSize); at < size; {
		data, err := unix.Seek(fd, at, unix.SEEK_DATA)
		switch {
		case errors.Is(err, unix.ENXIO):
			return nil
		case err != nil:
			return fmt.Errorf("seek: %w", err)
		case data >= size:
			return nil
		}
		row := data / rowSize
		f(int(row))
		at = (row + 1) * rowSize
	}
	return nil
}

// addRow adds a row.
func (c *Counts) addRow(m []byte, row int) {
	for i := range c.Durations {
		c.Durations[i] += load(m, row, durations+i)
	}
	cells := unchanged(func() heads { return loadHeads(m, row) })
	for i := range c.Answered {
		c.Answered[i] += cells[rowAnswered+i]
	}
	c.Broken += cells[rowBroken]
	c.Aborted += cells[rowAborted]
	c.Started += cells[rowStarted]
}

// heads are the cells of a row before the durations.
type heads [rowAborted + 1]uint64

// loadHeads loads the ends before the starts, so that a request which begins and ends meanwhile is
// not taken for one that has ended without a beginning.
func loadHeads(m []byte, row int) (h heads) {
	for i := rowAborted; i >= rowStarted; i-- {
		h[i] = load(m, row, i)
	}
	return h
}

// looks is how often a row is read until it is the same twice. A row has one writer, so the second
// look is nearly always enough.
const looks = 8

// unchanged returns what a row has at one moment: else requests that end while it is read would be
// taken for being in flight.
func unchanged(read func() heads) heads {
	h := read()
	for range looks {
		before := h
		if h = read(); h == before {
			break
		}
	}
	return h
}

// load loads a cell. The head is row 0.
func load(m []byte, row, cell int) uint64 {
	return atomic.LoadUint64((*uint64)(unsafe.Pointer(&m[row*rowSize+cell*cellSize]))) //nolint:gosec // aligned, and in m
}
