package qemu

import (
	"os"

	"github.com/pith-os/pith/internal/monitor/guest"
	"github.com/pith-os/pith/libos/boot"
)

// noExit means that the image has not sent an exit code.
const noExit = -1

// lastExit reads a debug port until QEMU ends, and returns the last exit code that
// the image sent.
func lastExit(debug *os.File) int {
	defer debug.Close()
	exit := noExit
	guest.ReadLines(debug, func(line string) {
		if e, err := boot.ParseMachineExit(line); err == nil {
			exit = int(e)
		}
	})
	return exit
}
