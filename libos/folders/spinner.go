package folders

import "github.com/pith-os/pith/libos/platform"

// patience says for how long to look for a reply again and again before one
// waits for it. Most come sooner than a CPU that has gone idle wakes up, which
// takes some 20 microseconds on a virtual machine.
type patience struct {
	until int64 // platform.Nanotime
	pause int   // times to wait at once
}

const (
	patienceTime  = 30_000 // nanoseconds
	patiencePause = 16     // after it was in vain
)

// begin begins to look.
func (p *patience) begin() {
	if p.pause > 0 {
		p.pause--
		p.until = 0
		return
	}
	p.until = platform.Nanotime() + patienceTime
}

// left says whether to look once more.
func (p *patience) left() bool {
	switch {
	case p.until == 0:
		return false
	case platform.Nanotime() < p.until:
		return true
	}
	p.until, p.pause = 0, patiencePause
	return false
}
