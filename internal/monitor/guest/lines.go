package guest

import (
	"io"

	"github.com/pith-os/pith/libos/boot"
)

// Lines splits what an image writes into lines. The image is not trusted: Lines
// drops lines that are longer than boot.MaxMessage.
type Lines struct {
	Handle func(line string) // called with each line, without its end

	line []byte
	long bool // the line that is being written
}

// Write takes the next bytes.
func (l *Lines) Write(p []byte) {
	for _, b := range p {
		switch {
		case b == '\n':
			if !l.long {
				l.Handle(string(l.line))
			}
			l.line, l.long = l.line[:0], false
		case len(l.line) == boot.MaxMessage:
			l.long = true
		default:
			l.line = append(l.line, b)
		}
	}
}

// ReadLines calls handle with each line as Lines does, until from ends. It drops
// a last line that has no end.
func ReadLines(from io.Reader, handle func(line string)) {
	lines := Lines{Handle: handle}
	buf := make([]byte, 1024)
	for {
		n, err := from.Read(buf)
		lines.Write(buf[:n])
		if err != nil {
			return
		}
	}
}
