// Package trace prints system calls as strace(1) does: a line for each call, and a
// summary by call at the end. Package sys wraps its handlers in it if the instance was
// started with --trace.
//
// The formats are data: calls.go has those of arguments, flags.go the names of
// constants. print.go and structs.go interpret them.
package trace

import (
	"sort"
	"strconv"
	"sync"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
)

// Tracer prints calls and counts them.
type Tracer struct {
	write   func(text []byte)
	formats map[uintptr]string

	mu    sync.Mutex // held while a line is written
	stats map[uintptr]*stat
}

type stat struct {
	num, calls, errors int
	unsupported        bool
	ns                 int64
}

// New returns a tracer that passes whole lines to write.
func New(write func(text []byte)) *Tracer {
	return &Tracer{write: write, formats: parseCalls(), stats: map[uintptr]*stat{}}
}

// Call is a system call in progress.
type Call struct {
	tracer *Tracer
	num    uintptr
	start  int64
	printer
}

// Begin starts a call. It prints the arguments up to the first one that the call fills
// in, as the call may change them.
func (t *Tracer) Begin(num uintptr, args *[6]uintptr) *Call {
	c := &Call{tracer: t, num: num, printer: printer{args: args}}
	c.begin(num, t.formats)
	if num == linux.SYS_EXIT_GROUP || num == linux.SYS_EXIT {
		t.count(num, 0, 0)
		c.close()
		c.text("?\n")
		t.line(c.out)
	}
	c.start = platform.Nanotime()
	return c
}

// End prints the call with its result.
func (c *Call) End(ret uintptr, errno linux.Errno) {
	ns := platform.Nanotime() - c.start
	c.tracer.count(c.num, ns, errno)
	c.end(ret, errno)
	c.text(" <")
	c.text(seconds(ns))
	c.text(">")
	if errno == linux.ENOSYS {
		c.text(unsupported)
	}
	c.text("\n")
	c.tracer.line(c.out)
}

// unsupported marks calls that the library OS does not have.
const unsupported = " (unsupported)"

func (t *Tracer) line(b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.write(b)
}

func (t *Tracer) count(num uintptr, ns int64, errno linux.Errno) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.stats[num]
	if s == nil {
		s = &stat{num: int(num)}
		t.stats[num] = s
	}
	s.calls++
	s.ns += ns
	if errno != 0 {
		s.errors++
		s.unsupported = s.unsupported || errno == linux.ENOSYS
	}
}

const (
	head = "% time     seconds  usecs/call     calls    errors syscall\n"
	rule = "------ ----------- ----------- --------- --------- ----------------\n"
)

// Summary writes the table that strace -c prints. Times are from call to return, with
// the time that a call waits.
func (t *Tracer) Summary() {
	t.mu.Lock()
	defer t.mu.Unlock()
	var rows []*stat
	var total stat
	for _, s := range t.stats {
		rows = append(rows, s)
		total.calls += s.calls
		total.errors += s.errors
		total.ns += s.ns
	}
	sort.Slice(rows, func(i, j int) bool {
		a, b := rows[i], rows[j]
		return a.ns > b.ns || a.ns == b.ns && a.num < b.num
	})
	var p printer
	p.text(head)
	p.text(rule)
	for _, s := range rows {
		s.row(&p, total.ns, callName(uintptr(s.num)))
	}
	p.text(rule)
	total.row(&p, total.ns, "total")
	t.write(p.out)
}

func (s *stat) row(p *printer, total int64, name string) {
	share := int64(10000) // in hundredths of a percent
	if total > 0 {
		share = s.ns * 10000 / total
	}
	errors := ""
	if s.errors > 0 {
		errors = strconv.Itoa(s.errors)
	}
	p.column(6, fixed(share, 2))
	p.column(11, seconds(s.ns))
	p.column(11, strconv.FormatInt(s.ns/1e3/max(int64(s.calls), 1), 10))
	p.column(9, strconv.Itoa(s.calls))
	p.column(9, errors)
	p.text(name)
	if s.unsupported {
		p.text(unsupported)
	}
	p.text("\n")
}

// column prints s, right-aligned in a column, and the space after the column.
func (p *printer) column(width int, s string) {
	for i := len(s); i < width; i++ {
		p.text(" ")
	}
	p.text(s)
	p.text(" ")
}

// seconds formats a time in seconds, to the microsecond.
func seconds(ns int64) string { return fixed(ns/1e3, 6) }

// fixed formats v with that many decimal places.
func fixed(v int64, places int) string {
	digits := strconv.FormatInt(v, 10)
	for len(digits) <= places {
		digits = "0" + digits
	}
	point := len(digits) - places
	return digits[:point] + "." + digits[point:]
}

func callName(num uintptr) string {
	if name := linux.SyscallName(num); name != "" {
		return name
	}
	return "syscall_0x" + strconv.FormatUint(uint64(num), 16)
}
