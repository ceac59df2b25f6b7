package confine

import (
	"maps"

	"golang.org/x/sys/unix"
)

// System calls that newer architectures lack.
func init() {
	maps.Copy(forbidden, map[string]func(*child) error{
		"open":   call(unix.SYS_OPEN, pathPointer()),
		"unlink": call(unix.SYS_UNLINK, pathPointer()),
		"fork":   call(unix.SYS_FORK),
	})
}
