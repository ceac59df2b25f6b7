// Package trace prints system calls as strace(1) does: a line for each call,
// and at the end a summary by call. Package sys wraps its dispatcher in it when
// the instance was started with --trace.
//
// What a call looks like is data: calls.go has the argument formats, flags.go
// the names of constants; print.go and structs.go interpret them.
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

	mu    sync.Mutex // keeps lines whole
	stats map[uintptr]*stat
}

type stat struct {
	num, calls, errors int
	unsupported        bool
	ns                 int64
}

// New makes a tracer that writes whole lines with write.
func New(write func(text []byte)) *Tracer {
	return &Tracer{write: write, formats: parseCalls(), stats: map[uintptr]*stat{}}
}

// Call is a system call under way.
type Call struct {
	tracer *Tracer
	num    uintptr
	start  int64
	printer
}

// Begin takes note of a call before it is made: it prints what the call may
// change, up to the first argument that the call fills in.
func (t *Tracer) Begin(num uintptr, args *[6]uintptr) *Call {
	c := &Call{tracer: t, num: num, printer: printer{args: args}}
	c.begin(num, t.formats)
	if num == linux.SYS_EXIT_GROUP || num == linux.SYS_EXIT {
		t.count(num, 0, 0)
		t.line(append(c.closed(), "= ?\n"...))
	}
	c.start = platform.Nanotime()
	return c
}

// End prints the call with its result.
func (c *Call) End(ret uintptr, errno linux.Errno) {
	ns := platform.Nanotime() - c.start
	c.tracer.count(c.num, ns, errno)
	c.end(ret, errno)
	b := append(c.out, " <"...)
	b = seconds(b, ns)
	b = append(b, '>')
	if errno == linux.ENOSYS {
		b = append(b, unsupported...)
	}
	c.tracer.line(append(b, '\n'))
}

// unsupported marks calls that Pith does not have.
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

// Summary writes the table that strace -c prints. Times are from call to
// return: those of calls that wait contain the waiting.
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
	b := append([]byte(head), rule...)
	for _, s := range rows {
		b = s.row(b, total.ns, callName(uintptr(s.num)))
	}
	b = append(b, rule...)
	t.write(total.row(b, total.ns, "total"))
}

func (s *stat) row(b []byte, total int64, name string) []byte {
	share := int64(10000) // hundredths of a per cent
	if total > 0 {
		share = s.ns * 10000 / total
	}
	b = pad(b, string(fixed(nil, share, 2)), 6)
	b = pad(append(b, ' '), string(seconds(nil, s.ns)), 11)
	b = pad(append(b, ' '), strconv.FormatInt(s.ns/1e3/max(int64(s.calls), 1), 10), 11)
	b = pad(append(b, ' '), strconv.Itoa(s.calls), 9)
	errors := ""
	if s.errors > 0 {
		errors = strconv.Itoa(s.errors)
	}
	b = pad(append(b, ' '), errors, 9)
	b = append(append(b, ' '), name...)
	if s.unsupported {
		b = append(b, unsupported...)
	}
	return append(b, '\n')
}

// pad adds s in a field of width, to the right.
func pad(b []byte, s string, width int) []byte {
	for i := len(s); i < width; i++ {
		b = append(b, ' ')
	}
	return append(b, s...)
}

// seconds adds a time with microseconds.
func seconds(b []byte, ns int64) []byte { return fixed(b, ns/1e3, 6) }

// fixed adds v as a number with that many decimal places.
func fixed(b []byte, v int64, places int) []byte {
	digits := strconv.FormatInt(v, 10)
	for len(digits) <= places {
		digits = "0" + digits
	}
	point := len(digits) - places
	b = append(append(b, digits[:point]...), '.')
	return append(b, digits[point:]...)
}

func callName(num uintptr) string {
	if name := linux.SyscallName(num); name != "" {
		return name
	}
	return "syscall_0x" + strconv.FormatUint(uint64(num), 16)
}
