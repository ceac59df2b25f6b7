package guest

import (
	"os"

	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/libos/boot"
)

// BootLine returns the boot parameters of a VM, arguments and environment
// included.
func BootLine(l *instance.Launch) (string, error) {
	b := l.Boot
	b.PID, b.Args, b.Env = 1, l.Args, l.Env
	line := b.String()
	if len(line) > boot.MaxLine {
		return "", instance.Errorf(instance.Arguments, "arguments, environment and the rest of the boot parameters are %d bytes: "+
			"a virtual machine takes %d; give the program less, or a file", len(line), boot.MaxLine)
	}
	return line, nil
}

// SameFile reports whether two streams of the program are the same file.
func SameFile(a, b *os.File) bool {
	if a == nil || b == nil {
		return a == b
	}
	fa, err1 := a.Stat()
	fb, err2 := b.Stat()
	return err1 == nil && err2 == nil && os.SameFile(fa, fb)
}

// RoomToStart is the number of bytes that an image needs behind its end to say
// that there is too little memory for it.
const RoomToStart = 2 << 20

// CheckMemory reports an error if memory is too little for what ends at the
// guest-physical address end.
func CheckMemory(memory, end uint64) error {
	const unit = 1 << 20
	least := end + RoomToStart
	if memory < least {
		return instance.Errorf(instance.Memory, "%dM is too little for this image: give at least %dM", memory/unit, (least+unit-1)/unit)
	}
	return nil
}

// MinMemory is the least memory of a VM in bytes, whatever its image. A confined
// process needs more, as its runtime counts the monitor's share.
const MinMemory = 8 << 20

// MaxPairs is the most pairs of queues of a network card, and of queues of a
// disk. One gateway serves all pairs, so that more gain nothing.
const MaxPairs = 4
