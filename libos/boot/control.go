package boot

import (
	"errors"
	"strconv"
	"strings"
)

// MaxMessage is the length in bytes of the longest control message, either way,
// without its end. A reader that does not trust its sender drops longer ones.
const MaxMessage = 256

// Listen is the control message that an image sends when the program starts (On)
// or stops listening on a published TCP port. Before that, clients are refused, as
// any host refuses them. On PortControl the monitor repeats the message when it
// has acted upon it. The image of a confined process sends SocketListen in place
// of it.
type Listen struct {
	Port uint16
	On   bool
}

// String returns the message's text: "listen PORT" or "unlisten PORT".
func (l Listen) String() string {
	verb := "unlisten "
	if l.On {
		verb = "listen "
	}
	return verb + strconv.Itoa(int(l.Port))
}

// ParseListen reads a Listen. The monitor does not trust the image that sent it.
func ParseListen(s string) (Listen, error) {
	verb, num, _ := strings.Cut(s, " ")
	port, err := strconv.ParseUint(num, 10, 16)
	if err != nil || (verb != "listen" && verb != "unlisten") {
		return Listen{}, errors.New("control message " + strconv.Quote(s) + " is not known")
	}
	return Listen{Port: uint16(port), On: verb == "listen"}, nil
}

// Names of the ports of a VM's console device (virtio 1.2 §5.3). A device that
// somebody else configured has port 0 alone. That is a console: input and output,
// without an end.
//
// The device's control queue says when the host has closed a port
// (VIRTIO_CONSOLE_PORT_OPEN, value 0). Bytes that are in the port's receive queue
// at that time come before the end. Output to a closed port fails with EPIPE, as
// it does for a pipe that nobody reads.
const (
	// PortStdin is standard input. Closing it ends the input, and must not end
	// the output.
	PortStdin = "pith.stdin"
	// PortStdout is standard output. QEMU makes a console port lose bytes
	// while its reader is slow; any other port waits.
	PortStdout = "pith.stdout"
	// PortStderr is standard error. A device does not have it if standard
	// error and standard output are the same file. Then both go to PortStdout,
	// in their order.
	PortStderr = "pith.stderr"
	// PortControl carries lines both ways: to the image those of [Signal],
	// [Time] and [NetworkEnd], from the image TimeRequest and those of
	// [Listen] for the ports of Config.Publish, which come back as its
	// answers.
	PortControl = "pith.control"
)

// Signal is a line of PortControl: a signal for the program.
type Signal int

// String returns the line's text, without its end: "signal NUMBER".
func (s Signal) String() string { return "signal " + strconv.Itoa(int(s)) }

// Time is a line of PortControl, the answer to TimeRequest: the host's clock in
// nanoseconds since the Unix epoch.
type Time int64

// TimeRequest is the line, without its end, with which an image asks for the time.
const TimeRequest = "time?"

// NetworkEnd is a line of PortControl: the instance's network has failed and does
// not come back. A monitor sends it if its network card cannot say so itself.
type NetworkEnd struct{}

// String returns the line's text, without its end: "network end".
func (NetworkEnd) String() string { return "network end" }

// String returns the line's text, without its end: "time NANOSECONDS".
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

// I/O ports of a VM that work at any time, even in a crash. Each takes bytes. A port
// that the VM does not have reads 0xff.
const (
	DebugText = 0xe9 // to standard error
	// DebugControl carries lines to the monitor: "exit CODE", right before
	// the VM ends.
	DebugControl = 0xea
	// DebugExit ends the VM when it is written.
	DebugExit = 0xf4
)

// MachineExit is the last line on DebugControl: the program's exit code, 0 to 255.
type MachineExit int

// String returns the line's text, without its end: "exit CODE".
func (e MachineExit) String() string { return "exit " + strconv.Itoa(int(e)) }

// ParseMachineExit reads a line of DebugControl. The monitor does not trust the
// image that sent it.
func ParseMachineExit(s string) (MachineExit, error) {
	num, ok := strings.CutPrefix(s, "exit ")
	code, err := strconv.ParseUint(num, 10, 8)
	if !ok || err != nil {
		return 0, errors.New("line " + strconv.Quote(s) + " is not known")
	}
	return MachineExit(code), nil
}
