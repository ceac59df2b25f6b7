package console

import (
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
)

// Requests of ioctl_tty(2) (include/uapi/asm-generic/ioctls.h).
const (
	tcgets     = 0x5401
	tcsets     = 0x5402
	tcsetsw    = 0x5403
	tcsetsf    = 0x5404
	tcsbrk     = 0x5409
	tcflsh     = 0x540b
	tiocsctty  = 0x540e
	tiocgpgrp  = 0x540f
	tiocspgrp  = 0x5410
	tiocgwinsz = 0x5413
	tiocgsid   = 0x5429
)

// termios is struct termios of the kernel (include/uapi/asm-generic/termbits.h).
type termios struct {
	iflag, oflag, cflag, lflag uint32
	line                       uint8
	cc                         [19]uint8
}

// cooked are the settings of a fresh terminal: ICRNL IXON; OPOST ONLCR; B38400
// CS8 CREAD; ISIG ICANON ECHO ECHOE ECHOK ECHOCTL ECHOKE IEXTEN.
var cooked = termios{0x500, 0x5, 0xbf, 0x8a3b, 0, [19]uint8{3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22}}

// winsize is struct winsize.
type winsize struct{ rows, cols, x, y uint16 }

// Window, if not nil, returns the size of the terminal's window in characters; zero if
// it is not known.
var Window func() (cols, rows uint16)

func window() winsize {
	size := winsize{rows: 24, cols: 80} // if it is not known
	if Window != nil {
		if cols, rows := Window(); cols > 0 && rows > 0 {
			size = winsize{rows: rows, cols: cols}
		}
	}
	return size
}

// Ioctl implements file.File.
func (f *File) Ioctl(req uint, arg uintptr) (uintptr, linux.Errno) {
	if req == linux.FIONREAD {
		return put(arg, int32(stdin.pending()))
	}
	if !f.tty {
		return 0, linux.ENOTTY
	}
	switch req {
	case tcgets:
		return put(arg, cooked)
	case tcsets, tcsetsw, tcsetsf:
		return setTermios(arg)
	case tiocgwinsz:
		return put(arg, window())
	case tiocgpgrp, tiocgsid:
		return put(arg, int32(1))
	case tcflsh:
		stdin.discard()
		return 0, 0
	case tcsbrk, tiocsctty, tiocspgrp:
		return 0, 0
	}
	return 0, linux.ENOTTY
}

// setTermios refuses every change with an error: the terminal belongs to the monitor. A
// change without effect would show the password that a program asks for.
func setTermios(arg uintptr) (uintptr, linux.Errno) {
	if arg < platform.PageSize {
		return 0, linux.EFAULT
	}
	if *(*termios)(platform.Pointer(arg)) != cooked {
		return 0, linux.EOPNOTSUPP
	}
	return 0, 0
}

// put stores v where the program wants it.
func put[T any](addr uintptr, v T) (uintptr, linux.Errno) {
	if addr < platform.PageSize {
		return 0, linux.EFAULT
	}
	*(*T)(platform.Pointer(addr)) = v
	return 0, 0
}
