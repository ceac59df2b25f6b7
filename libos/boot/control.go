package boot

import (
	"errors"
	"strconv"
	"strings"
)

// MaxMessage is the length in bytes of the longest control message, either way,
// without its end. A reader that does not trust its sender drops longer ones.
const MaxMessage = 256

// Listen is the message that an image sends on FDControl when the program
// starts (On) or stops listening on a published TCP port, so that a client is
// refused, as by any host, until the program is there. On PortControl the
// monitor repeats the message when it has done so; on FDControl the listening
// socket itself shows it.
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

// Ports of the console device of a virtual machine (virtio 1.2 §5.3), by name.
// A device that somebody else configured has port 0 alone, which is a console:
// input and output, without an end.
//
// A port that the host closed says so on the device's control queue
// (VIRTIO_CONSOLE_PORT_OPEN, value 0); bytes that are in its receive queue by
// then come before the end. Output to a closed port is EPIPE, as by a pipe
// that nobody reads.
const (
	// PortStdin is standard input. Closing it is the end of input, and must
	// not be that of the output.
	PortStdin = "pith.stdin"
	// PortStdout is standard output. QEMU makes a console port lose bytes
	// while its reader is slow; any other port waits.
	PortStdout = "pith.stdout"
	// PortStderr is standard error. It is not there when that is the same
	// file as standard output: both go to PortStdout then, in their order.
	PortStderr = "pith.stderr"
	// PortControl carries lines both ways: to the image those of [Signal],
	// [Time] and [NetworkEnd], from the image TimeRequest and those of
	// [Listen] for the ports of Config.Publish, which come back as its
	// answers.
	PortControl = "pith.control"
)

// Signal is a line of PortControl: a signal for the program.
type Signal int

// String is the line's text, without its end: "signal NUMBER".
func (s Signal) String() string { return "signal " + strconv.Itoa(int(s)) }

// Time is a line of PortControl: the host's clock, in nanoseconds since the
// Unix epoch, which TimeRequest asks for.
type Time int64

// TimeRequest is the line, without its end, that asks for the time.
const TimeRequest = "time?"

// NetworkEnd is a line of PortControl: the instance's network has failed and does
// not come back. A monitor sends it if its network card cannot say so itself.
type NetworkEnd struct{}

// String is the line's text, without its end: "network end".
func (NetworkEnd) String() string { return "network end" }

// String is the line's text, without its end: "time NANOSECONDS".
func (t Time) String() string { return "time " + strconv.FormatInt(int64(t), 10) }

// ParseCommand reads a line of PortControl that the monitor sent, without its
// end: a [Signal], a [Time], a [Listen] or a [NetworkEnd].
func ParseCommand(s string) (any, error) {
	verb, num, _ := strings.Cut(s, " ")
	n, err := strconv.ParseInt(num, 10, 64)
	switch {
	case s == NetworkEnd{}.String():
		return NetworkEnd{}, nil
	case err == nil && verb == "signal" && n > 0 && n <= 64:
		return Signal(n), nil
	case err == nil && verb == "time" && n >= 0:
		return Time(n), nil
	}
	if l, err := ParseListen(s); err == nil {
		return l, nil
	}
	return nil, errors.New("control message " + strconv.Quote(s) + " is not known")
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
