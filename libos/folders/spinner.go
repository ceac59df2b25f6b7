package folders

import "github.com/pith-os/pith/libos/platform"

// spinner limits how long a goroutine polls for a reply before it waits for it.
// Most replies arrive sooner than an idle CPU wakes up, which takes about 20
// microseconds in a virtual machine.
type spinner struct {
	until int64 // on the clock of platform.Nanotime
	pause int   // number of requests that wait at once
}

const (
	spinTime  = 30_000 // polling time in nanoseconds
	spinPause = 16     // requests that wait at once after polling failed
)

// start starts polling for one reply.
func (s *spinner) start() {
	if s.pause > 0 {
		s.pause--
		s.until = 0
		return
	}
	s.until = platform.Nanotime() + spinTime
}

// spin reports whether to poll once more.
func (s *spinner) spin() bool {
	switch {
	case s.until == 0:
		return false
	case platform.Nanotime() < s.until:
		return true
	}
	s.until, s.pause = 0, spinPause
	return false
}
