package guest

import (
	"os"

	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/libos/boot"
)

// BootLine returns the boot parameters of a VM, including arguments and environment.
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

// RoomToStart is the number of bytes that an image needs behind its end to report a lack of
// memory itself.
const RoomToStart = 2 << 20

// CheckMemory returns an error if a VM with the given memory in bytes is too small for an image.
// end is the guest-physical address behind the image.
func CheckMemory(memory, end uint64) error {
	const unit = 1 << 20
	least := end + RoomToStart
	if memory < least {
		return instance.Errorf(instance.Memory, "%dM is too little for this image: give at least %dM", memory/unit, (least+unit-1)/unit)
	}
	return nil
}

// MinMemory is the minimum memory of a VM in bytes, for the smallest image. A confined process
// needs more (package process).
const MinMemory = 8 << 20

// MaxPairs is the maximum number of queue pairs of a network card, and of queues of a disk. One
// gateway serves all pairs, so more would gain nothing.
const MaxPairs = 4
