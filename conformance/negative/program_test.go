package negative

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pith-os/pith/conformance/harness"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// What a Go program that tries the same can expect: a forbidden system call
// kills it; a fault comes to the Go runtime, which reports it or lets the
// program recover, as on any system.
func TestGoProgramsEndAsTheyMust(t *testing.T) {
	const (
		forbidden = int(Forbidden)
		crash     = 2 // the exit code of a Go program's fatal error
	)
	call := func(numbers ...int) []string {
		args := []string{"syscall"}
		for _, n := range numbers {
			args = append(args, fmt.Sprint(n))
		}
		return args
	}
	for _, test := range []struct {
		name   string
		args   []string
		code   int
		output string // part of what it writes
	}{
		{"a permitted system call", call(unix.SYS_SCHED_YIELD), 0, "result 0"},
		{"a system call of its own", call(unix.SYS_GETPID), forbidden, "system call"},
		{"execve", call(unix.SYS_EXECVE), forbidden, ""},
		{"a second use of the exec descriptor", call(unix.SYS_EXECVEAT, boot.FDListen, 0, 0, 0, unix.AT_EMPTY_PATH), forbidden, ""},
		{"open", call(openCall), forbidden, ""},
		{"socket", call(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM), forbidden, ""},
		{"ptrace", call(unix.SYS_PTRACE), forbidden, ""},
		{"mmap of a file", call(unix.SYS_MMAP, 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE, boot.FDRandom), forbidden, ""},
		{"clone of a process", call(unix.SYS_CLONE, int(processFlags)), forbidden, ""},
		{"write to text", []string{"poke-text"}, crash, "unexpected fault address"},
		{"execute the heap", []string{"call-heap"}, crash, "SIGSEGV"},
		{"read page zero", []string{"read-zero"}, 0, "recovered: runtime error: invalid memory address"},
		{"run past a goroutine's stack", []string{"recurse"}, crash, "stack overflow"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, m := range harness.Selected() {
				if !m.Image {
					continue
				}
				test := test
				if m.Machine && test.args[0] == "syscall" {
					test.code, test.output = forbidden, "system call" // none is permitted
				}
				t.Run(m.Name, func(t *testing.T) {
					i := harness.Start(t, m, harness.Program{Package: "./testdata/attempt", Args: test.args})
					code, err := i.Wait(harness.Timeout)
					if err != nil {
						t.Fatal(err)
					}
					if all := i.Stdout() + i.Stderr(); code != test.code || !strings.Contains(all, test.output) {
						t.Errorf("ended with %d and %q; must end with %d and %q", code, all, test.code, test.output)
					}
				})
			}
		})
	}
}
