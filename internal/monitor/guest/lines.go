package guest

import (
	"io"

	"github.com/pith-os/pith/libos/boot"
)

// Lines splits an image's output into lines. It does not trust the image, so it drops lines
// longer than boot.MaxMessage.
type Lines struct {
	Handle func(line string) // called with each line, without its end

	line []byte
	long bool // the current line is too long
}

// Write adds the next bytes of the output.
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

// ReadLines reads from until its end and calls handle with each line, like Lines. It drops an
// incomplete last line.
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
