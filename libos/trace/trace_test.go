package trace

import (
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/pith-os/pith/libos/linux"
)

func TestSummaryIsThatOfStraceByTime(t *testing.T) {
	var out strings.Builder
	tr := New(func(b []byte) { out.Write(b) })
	tr.count(linux.SYS_READ, 1500_000, 0)
	tr.count(linux.SYS_READ, 500_000, linux.EAGAIN)
	tr.count(linux.SYS_OPENAT, 6000_000, 0)
	tr.count(linux.SYS_IO_URING_SETUP, 0, linux.ENOSYS)
	tr.Summary()
	want := `% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 75.00    0.006000        6000         1           openat
 25.00    0.002000        1000         2         1 read
  0.00    0.000000           0         1         1 io_uring_setup (unsupported)
------ ----------- ----------- --------- --------- ----------------
100.00    0.008000        2000         4         2 total
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestUnsupportedCallsAreMarked(t *testing.T) {
	var out strings.Builder
	tr := New(func(b []byte) { out.Write(b) })
	tr.Begin(linux.SYS_IO_URING_SETUP, &[6]uintptr{8}).End(0, linux.ENOSYS)
	want := regexp.MustCompile(`^io_uring_setup\(8, NULL\) +=? -1 ENOSYS \(Function not implemented\) <0\.\d{6}> \(unsupported\)\n$`)
	if !want.MatchString(out.String()) {
		t.Errorf("got %q", out.String())
	}
}

func TestACallThatDoesNotReturnIsPrintedBeforeIt(t *testing.T) {
	var out strings.Builder
	New(func(b []byte) { out.Write(b) }).Begin(linux.SYS_EXIT_GROUP, &[6]uintptr{3})
	if want := "exit_group(3)                           = ?\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestLinesAreWholeWhenManyCallAtOnce(t *testing.T) {
	var lines []string
	tr := New(func(b []byte) { lines = append(lines, string(b)) })
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				tr.Begin(linux.SYS_CLOSE, &[6]uintptr{7}).End(0, 0)
			}
		})
	}
	wg.Wait()
	for _, l := range lines {
		if !strings.HasPrefix(l, "close(7) ") || !strings.HasSuffix(l, ">\n") {
			t.Fatalf("line %q", l)
		}
	}
	if len(lines) != 800 || tr.stats[linux.SYS_CLOSE].calls != 800 {
		t.Errorf("%d lines, %d counted", len(lines), tr.stats[linux.SYS_CLOSE].calls)
	}
}

func TestNamesOfFlags(t *testing.T) {
	tests := []struct {
		set  string
		v    uint64
		want string
	}{
		{"O_", 0, "O_RDONLY"},
		{"O_", linux.O_RDWR | linux.O_TMPFILE, "O_RDWR|O_TMPFILE"},
		{"O_", linux.O_DSYNC | 1<<30, "O_RDONLY|O_DSYNC|0x40000000"},
		{"PROT_", 0, "PROT_NONE"},
		{"PROT_", 3, "PROT_READ|PROT_WRITE"},
		{"AF_", 99, "0x63 /* AF_??? */"},
		{"AT_R", 0x200, "AT_REMOVEDIR"},
		{"EFD_", 0, "0"},
		{"SIG", 15, "SIGTERM"},
		{"RUSAGE_", 0xffffffff, "RUSAGE_CHILDREN"},
		{"no such set", 18, "0x12"},
	}
	for _, tt := range tests {
		var p printer
		if p.names(tt.set, tt.v); string(p.out) != tt.want {
			t.Errorf("%s %#x: %s, want %s", tt.set, tt.v, p.out, tt.want)
		}
	}
}

func TestTheTablesAreConsistent(t *testing.T) {
	known := map[string]bool{}
	for num := range uintptr(linux.MaxSyscall + 1) {
		known[linux.SyscallName(num)] = true
	}
	for line := range strings.Lines(strings.TrimSpace(calls)) {
		name, format, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !known[name] {
			t.Errorf("%s: no such call", name)
		}
		n := 0
		for format != "" && format[0] != '=' {
			code, set, rest := cut(format)
			if code == '{' && !strings.Contains(sets, "\n"+set+" ") {
				t.Errorf("%s: no set %s", name, set)
			}
			if code != '{' && !strings.ContainsRune("dluxopfDsgMOwvamt2ieqFkbrzRHGSXUPVABnTJQLEKYCI", rune(code)) {
				t.Errorf("%s: no code %c", name, code)
			}
			format = rest
			n++
		}
		if n > 6 {
			t.Errorf("%s: %d arguments", name, n)
		}
	}
	for line := range strings.Lines(strings.TrimSpace(sets)) {
		key, _, _ := strings.Cut(line, " ")
		for _, v := range []uint64{0, 1, ^uint64(0)} {
			new(printer).names(key, v) // panics at a bad number
		}
	}
}

func TestIPv6Addresses(t *testing.T) {
	tests := []struct {
		in   [16]byte
		want string
	}{
		{[16]byte{}, "::"},
		{[16]byte{15: 1}, "::1"},
		{[16]byte{0: 0x20, 1: 1, 2: 0xd, 3: 0xb8, 15: 1}, "2001:db8::1"},
		{[16]byte{1: 1, 3: 2, 7: 3, 9: 4, 11: 5, 13: 6, 15: 7}, "1:2:0:3:4:5:6:7"},
		{[16]byte{1: 1, 15: 0}, "1::"},
		{[16]byte{10: 0xff, 11: 0xff, 12: 10, 15: 1}, "::ffff:10.0.0.1"},
	}
	for _, tt := range tests {
		var p printer
		if p.ipv6(&tt.in); string(p.out) != tt.want {
			t.Errorf("%v: %s, want %s", tt.in, p.out, tt.want)
		}
	}
}
