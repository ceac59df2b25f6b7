package boot

import (
	"errors"
	"strconv"
	"strings"
)

// Ports of a virtual machine's virtio console (virtio 1.2 §5.3), found by the
// names that the monitor gives them. Port 0 is the console: standard input,
// output and error, except those that have a port. Their numbers are below
// MaxPorts.
//
// A port that the host closed says so on the device's control queue
// (VIRTIO_CONSOLE_PORT_OPEN, value 0); bytes that are in its receive queue by
// then come before the end. Output to a closed port is EPIPE, as by a pipe
// that nobody reads.
const (
	// PortStdin closes at the end of input. It is apart from port 0 because
	// QEMU never closes that one; and a port that is closed for input takes
	// no output.
	PortStdin = "pith.stdin"
	// PortStdout is standard output. QEMU makes a console port lose bytes
	// while its reader is slow; any other port waits.
	PortStdout = "pith.stdout"
	// PortStderr is standard error. Without it, while there is PortStdout,
	// both are the same file of the host: PortStdout keeps their order.
	PortStderr = "pith.stderr"
	// PortControl carries lines of text: Commands to the image, AskTime and
	// the messages of Listen for Config.Publish from it.
	PortControl = "pith.control"

	MaxPorts = 5
)

// AskTime is the line by which an image asks for the time: it has no other
// clock to set its own by.
const AskTime = "time?\n"

// Command is a line from the monitor on PortControl.
type Command struct {
	Verb  CommandVerb
	Value int64
}

// CommandVerb says what a Command's value is.
type CommandVerb string

// Commands.
const (
	CommandSignal CommandVerb = "signal" // the number of a signal for the program
	CommandTime   CommandVerb = "time"   // nanoseconds since the Unix epoch
)

// String is the line without its end: "signal 15".
func (c Command) String() string { return string(c.Verb) + " " + strconv.FormatInt(c.Value, 10) }

// ParseCommand reads a line without its end.
func ParseCommand(line string) (Command, error) {
	verb, num, _ := strings.Cut(line, " ")
	c := Command{Verb: CommandVerb(verb)}
	var err error
	c.Value, err = strconv.ParseInt(num, 10, 64)
	limit := int64(1<<63 - 1)
	if c.Verb == CommandSignal {
		limit = 64
	} else if c.Verb != CommandTime {
		err = errors.New("unknown")
	}
	if err != nil || c.Value < 1 || c.Value > limit {
		return Command{}, errors.New("command " + strconv.Quote(line) + " is not known")
	}
	return c, nil
}
