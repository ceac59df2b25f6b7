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
