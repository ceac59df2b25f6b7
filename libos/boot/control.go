package boot

import (
	"errors"
	"strconv"
	"strings"
)

// Listen is the message that an image sends on FDControl when the program
// starts (On) or stops listening on a published TCP port, so that a client is
// refused, as by any host, until the program is there.
type Listen struct {
	Port uint16
	On   bool
}

// String is the message's text: "listen PORT" or "unlisten PORT".
func (l Listen) String() string {
	verb := "unlisten "
	if l.On {
		verb = "listen "
	}
	return verb + strconv.Itoa(int(l.Port))
}

// ParseListen reads a control message. The monitor does not trust its sender.
func ParseListen(s string) (Listen, error) {
	verb, num, _ := strings.Cut(s, " ")
	port, err := strconv.ParseUint(num, 10, 16)
	if err != nil || (verb != "listen" && verb != "unlisten") {
		return Listen{}, errors.New("control message " + strconv.Quote(s) + " is not known")
	}
	return Listen{Port: uint16(port), On: verb == "listen"}, nil
}

// I/O ports of a virtual machine that work at any time, even in a crash: a
// byte written is a byte said. One that is not there reads 0xff.
const (
	DebugText = 0xe9 // to standard error
	// DebugControl carries lines to the monitor: "exit CODE", right before
	// the end of the machine.
	DebugControl = 0xea
	// DebugExit ends the machine when it is written.
	DebugExit = 0xf4
)

// MachineExit is the last line on DebugControl: the exit code of a virtual
// machine's program, 0 to 255.
type MachineExit int

// String is the line's text, without its end: "exit CODE".
func (e MachineExit) String() string { return "exit " + strconv.Itoa(int(e)) }

// ParseMachineExit reads a line of DebugControl. The monitor does not trust
// its sender.
func ParseMachineExit(s string) (MachineExit, error) {
	num, ok := strings.CutPrefix(s, "exit ")
	code, err := strconv.ParseUint(num, 10, 8)
	if !ok || err != nil {
		return 0, errors.New("line " + strconv.Quote(s) + " is not known")
	}
	return MachineExit(code), nil
}
