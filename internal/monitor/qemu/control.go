package qemu

import (
	"os"

	"github.com/pith-os/pith/internal/monitor/guest"
	"github.com/pith-os/pith/libos/boot"
)

// noExit is the exit code of a machine that said none.
const noExit = -1

// lastExit reads a debug port until QEMU's end and returns the exit code that
// it said last.
func lastExit(debug *os.File) int {
	defer debug.Close()
	exit := noExit
	guest.Lines(debug, func(line string) {
		if e, err := boot.ParseMachineExit(line); err == nil {
			exit = int(e)
		}
	})
	return exit
}
