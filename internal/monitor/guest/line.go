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
