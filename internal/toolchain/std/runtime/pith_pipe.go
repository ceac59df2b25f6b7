//go:build pith

package runtime

import (
	"internal/runtime/atomic"
	"unsafe"
)

// This file has the gate's pipes. The runtime makes pipes for itself (nonblockingPipe), for
// example in its tests, and a signal handler may write to them. So these pipes do not belong
// to the library OS and use no locks. The gate sends calls on their descriptors here.

const (
	pithpipefirst = 1 << 16 // first descriptor, above all descriptors of the host
	pithpipecount = 4
)

// pithpipes are the pipes. The reader of pipe i is descriptor pithpipefirst+2*i, and the
// writer is the next one.
var pithpipes [pithpipecount]struct {
	state uint32 // a futex
	flags uint32 // O_NONBLOCK, O_CLOEXEC
}

// The state of a pipe holds its bytes and which of its ends are open.
const (
	pithpipebytes  = 3 // mask of the number of bytes; the bytes are in bits 8 to 31
	pithpipereader = 4
	pithpipewriter = 8
)

// pithpipecall makes the system call num. It is pipe2 or a call on a pipe's descriptor.
//
//go:nosplit
//go:nowritebarrierrec
func pithpipecall(num, a1, a2, a3 uintptr) uintptr {
	const (
		errAgain, errBadf, errInval, errMfile, errPipe = 11, 9, 22, 24, 32
		getfd, setfd, getfl, setfl                     = 1, 2, 3, 4
	)
	if num == nrPipe2 {
		for i := range pithpipes {
			if p := &pithpipes[i]; atomic.Cas(&p.state, 0, pithpipereader|pithpipewriter) {
				p.flags = uint32(a2)
				r := int32(pithpipefirst + 2*i)
				*(*[2]int32)(unsafe.Pointer(a1)) = [2]int32{r, r + 1}
				return 0
			}
		}
		return vmErr(errMfile)
	}
	p := &pithpipes[(a1-pithpipefirst)/2&(pithpipecount-1)]
	end, other := uint32(pithpipereader), uint32(pithpipewriter)
	if a1&1 != 0 {
		end, other = other, end
	}
	for done := uintptr(0); ; {
		s := atomic.Load(&p.state)
		n := s & pithpipebytes
		next, wait := s, false
		switch {
		case s&end == 0:
			return vmErr(errBadf)
		case num == nrFcntl && a2 == getfl:
			return uintptr(p.flags&_O_NONBLOCK) | a1&1
		case num == nrFcntl && a2 == getfd:
			return uintptr(p.flags & _O_CLOEXEC / _O_CLOEXEC)
		case num == nrFcntl && a2 == setfl:
			p.flags = p.flags&^_O_NONBLOCK | uint32(a3)&_O_NONBLOCK
			return 0
		case num == nrFcntl && a2 == setfd:
			p.flags = p.flags&^_O_CLOEXEC | uint32(a3)&1*_O_CLOEXEC
			return 0
		case num == nrFcntl:
			return vmErr(errInval)
		case num == nrClose:
			if next &^= end; next&other == 0 {
				next = 0
			}
		case done == a3:
			return done
		case num == nrRead && n > 0:
			*(*byte)(unsafe.Pointer(a2 + done)) = byte(s >> 8)
			next = s&0xff - 1 | s>>8&^0xff
		case num == nrRead && (done > 0 || s&other == 0):
			return done
		case num == nrWrite && s&other == 0:
			return vmErr(errPipe)
		case num == nrWrite && n < 3:
			next = s + 1 | uint32(*(*byte)(unsafe.Pointer(a2 + done)))<<(8+8*n)
		default:
			wait = true
		}
		switch {
		case !wait:
			if !atomic.Cas(&p.state, s, next) {
				continue
			}
			futexwakeup(&p.state, 1<<30)
			if num == nrClose {
				return 0
			}
			done++
		case p.flags&_O_NONBLOCK == 0:
			futexsleep(&p.state, s, -1)
		case done > 0:
			return done
		default:
			return vmErr(errAgain)
		}
	}
}
