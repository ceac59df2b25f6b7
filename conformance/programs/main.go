// Command programs is the differential truth of conformance: a table of small
// programs, one for each domain of the standard library. What one prints and
// its exit code must be the same on Linux and in an image, byte for byte, so
// they print nothing that depends on the machine; "exec" alone differs, by
// design. Run one with
//
//	pith run ./conformance/programs -- files
package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
)

// domain is one small program.
type domain struct {
	name string
	run  func()
}

var domains = []domain{
	{"args", args},
	{"asleep", asleep},
	{"clock", clock},
	{"codecs", codecs},
	{"copying", copying},
	{"crypto", cryptography},
	{"deadlock", deadlock},
	{"devices", devices},
	{"directories", directories},
	{"embedded", embedded},
	{"epoll", epoll},
	{"exec", execRefused},
	{"exit", exit},
	{"faults", faults},
	{"files", files},
	{"goexit", goexit},
	{"goroutines", goroutines},
	{"http", httpLoopback},
	{"https", httpsLoopback},
	{"inotify", inotify},
	{"interfaces", interfaces},
	{"killed", killed},
	{"links", links},
	{"locks", locks},
	{"mapping", mapping},
	{"memory", memory},
	{"names", names},
	{"numbers", numbers},
	{"pages", pages},
	{"panic", panics},
	{"pipes", pipes},
	{"preemption", preemption},
	{"proc", proc},
	{"profile", profile},
	{"recover", recovers},
	{"segfault", segfault},
	{"signals", signals},
	{"manysignals", manySignals},
	{"stackoverflow", stackOverflow},
	{"stdin", stdin},
	{"syscalls", syscalls},
	{"tcp", tcp},
	{"templates", templates},
	{"terminated", terminated},
	{"timers", timers},
	{"tracing", tracing},
	{"udp", udp},
	{"unixsockets", unixSockets},
	{"users", users},
	{"zones", zones},
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: programs DOMAIN [ARG...]")
		os.Exit(64)
	}
	n, ok := slices.BinarySearchFunc(domains, os.Args[1], func(d domain, name string) int {
		return cmp.Compare(d.name, name)
	})
	if !ok {
		fmt.Fprintf(os.Stderr, "programs: no domain %q\n", os.Args[1])
		os.Exit(64)
	}
	domains[n].run()
}

// show prints one line: what was done and what came of it.
func show(what string, results ...any) {
	fmt.Printf("%s:", what)
	for _, r := range results {
		fmt.Printf(" %v", r)
	}
	fmt.Println()
}

// must returns v; an error ends the program as a difference anyone can see.
func must[T any](v T, err error) T {
	check(err)
	return v
}

func check(err error) {
	if err != nil {
		fmt.Println("unexpected error:", err)
		os.Exit(1)
	}
}

// scratch makes an empty folder and goes there, so that relative names, and
// the errors that quote them, are the same everywhere.
func scratch() {
	check(os.Chdir(must(os.MkdirTemp("", "programs-"))))
}
