package guest

import (
	"fmt"
	"os"

	"github.com/pith-os/pith/internal/monitor"
	"github.com/pith-os/pith/libos/boot"
)

// BootLine are the machine's boot parameters.
func BootLine(c *monitor.Config) (string, error) {
	b := c.Boot
	b.PID, b.Args, b.Env = 1, c.Args, c.Env
	b.TTY = monitor.Terminals(c.Stdin, c.Stdout, c.Stderr)
	b.Publish = nil
	for _, p := range c.Publish {
		b.Publish = append(b.Publish, p.Guest)
	}
	b.Mounts = monitor.Mounts(c.Folders)
	line := b.String()
	if len(line) > boot.MaxLine {
		return "", fmt.Errorf("arguments, environment and the rest of the boot parameters are %d bytes: a virtual machine takes %d; "+
			"give the program less, or a file", len(line), boot.MaxLine)
	}
	return line, nil
}

// SameFile says that the program's output and error go to the same place.
func SameFile(a, b *os.File) bool {
	if a == nil || b == nil {
		return a == b
	}
	fa, err1 := a.Stat()
	fb, err2 := b.Stat()
	return err1 == nil && err2 == nil && os.SameFile(fa, fb)
}

// RoomToStart is what an image needs behind its end to say that there is too
// little memory for it, in bytes.
const RoomToStart = 2 << 20

// CheckMemory says whether a machine's memory is enough for what ends at end.
func CheckMemory(memory, end uint64) error {
	const unit = 1 << 20
	least := end + RoomToStart
	if memory < least {
		return fmt.Errorf("%dM of memory is too little for this image: give it at least %dM with --memory",
			memory/unit, (least+unit-1)/unit)
	}
	return nil
}
