// Package negative holds images that try what an image must not be able to do,
// and how each has to end. The images are machine code of a few instructions,
// so that neither a runtime nor the library OS stands between the attempt and
// what must stop it. Its test runs the list on every monitor.
package negative

import (
	"slices"

	"github.com/pith-os/pith/internal/monitor/tinyelf"

	"golang.org/x/sys/unix"
)

// Attempt is one image.
type Attempt struct {
	Name  string
	Write func(p *tinyelf.Program) // appends the attempt
	End   End
}

// End is how an image must end.
type End int

// Ends, by exit code (see libos/boot).
const (
	// Forbidden: killed for a system call that is not permitted.
	Forbidden = End(128 + unix.SIGSYS)
	// Fault: killed for an access to memory that is not permitted.
	Fault = End(128 + unix.SIGSEGV)
	// BadDescriptor, NoMemory and NoThread: the call is permitted and
	// fails, and the image exits with the error's number.
	BadDescriptor = End(unix.EBADF)
	NoMemory      = End(unix.ENOMEM)
	NoThread      = End(unix.EAGAIN)
)

// NotStopped is the exit code of an image whose attempt had no effect on it.
const NotStopped = 77

// All is the list.
func All() []Attempt {
	var all []Attempt
	for _, list := range [][]Attempt{calls, archCalls, arguments, memory, resources} {
		all = append(all, list...)
	}
	return all
}

// HostNetwork returns attempts of an image whose network is a namespace of the host, without
// a policy.
func HostNetwork() []Attempt {
	// It has host sockets, and may name addresses.
	permitted := []string{"sendto with an address", "recvmsg without host sockets"}
	all := slices.Concat(All(), hostNetwork)
	return slices.DeleteFunc(all, func(a Attempt) bool { return slices.Contains(permitted, a.Name) })
}

// Image is the attempt's executable.
func (a Attempt) Image() []byte {
	var p tinyelf.Program
	a.Write(&p)
	p.Exit(NotStopped)
	return p.Bytes()
}

type (
	program = tinyelf.Program
	imm     = tinyelf.Imm
)

// syscall is an attempt at one system call with numbers as arguments.
func syscall(name string, number uint64, args ...uint64) Attempt {
	return Attempt{name, func(p *program) {
		values := make([]tinyelf.Value, len(args))
		for i, arg := range args {
			values[i] = imm(arg)
		}
		p.Syscall(number, values...)
	}, Forbidden}
}
