// Package entropy is the random number generator of a virtual machine. The CPU's
// instructions and an entropy device seed it, and seed it again while it is in use.
// Package machine starts it before the program's packages are initialised.
// platform.Random reads it.
//
// The generator is ChaCha8, with a new key after each request. So its memory reveals
// nothing about earlier numbers.
package entropy

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/virtio"
	"github.com/pith-os/pith/libos/virtio/rng"
)

// seed is a key of the generator.
type seed [32]byte

// source fills a seed with entropy. It reports false if it has none.
type source func(p *seed) bool

// Start finds the sources and serves platform.Random. A virtual machine without a source
// ends with a message: predictable numbers are no secret.
func Start() {
	g := new(generator)
	if !g.start(instructions(), devices()) {
		warn("there is no source of random numbers: the virtual machine needs a CPU with RDRAND (QEMU: -cpu max) or an entropy device (-device virtio-rng-device, virtio-rng-pci)")
		platform.Exit(boot.ExitFailure)
	}
	platform.SetEntropy(g.fill)
}

func warn(line string) { platform.ConsoleWrite(2, []byte("pith: "+line+"\n")) }

// devices returns the entropy devices.
func devices() []source {
	var found []source
	for _, t := range virtio.Find(virtio.IDEntropy) {
		d, errno := rng.Open(t)
		if errno != 0 {
			warn("device " + t.Name() + " (entropy) does not start: " + errno.Name())
			continue
		}
		found = append(found, func(p *seed) bool { return d.Read(p[:]) == 0 })
	}
	return found
}

// generator makes random numbers from a seed.
type generator struct {
	mu     sync.Mutex
	cipher *rand.ChaCha8
	seeded bool
	last   int64 // time of the last seed, on the monotonic clock, in nanoseconds

	fast, slow []source
	busy       atomic.Bool // a goroutine reads the sources for a new seed
}

const (
	// reseedAfter is the age of a seed, in nanoseconds, after which the next
	// request starts a new one.
	reseedAfter = 60e9
	// longestWait is how long the start waits for the first seed, in nanoseconds.
	longestWait = 5e9
	// longestHold is how many bytes fill makes with the lock held.
	longestHold = 64 << 10
)

// start seeds the generator and reports whether it has a seed. fast sources answer at
// once. start waits for slow ones only if no fast one answers.
func (g *generator) start(fast, slow []source) bool {
	g.cipher = rand.NewChaCha8(seed{})
	g.fast, g.slow = fast, slow
	g.reseed(fast)
	read := new(platform.Waiter)
	go func() {
		g.reseed(slow)
		read.Wake()
	}()
	if !g.hasSeed() {
		timer := platform.AfterFunc(longestWait, read.Wake)
		read.Wait()
		timer.Stop()
	}
	return g.hasSeed()
}

func (g *generator) hasSeed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.seeded
}

// reseed mixes each of the sources into the key.
func (g *generator) reseed(sources []source) {
	for _, read := range sources {
		var p seed
		if read(&p) {
			g.absorb(&p)
		}
	}
}

// absorb makes a new key from the old one and p: the cipher's output under both. It is
// secret if either is.
func (g *generator) absorb(p *seed) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var key seed
	g.cipher.Read(key[:])
	for i := range key {
		key[i] ^= p[i]
	}
	g.cipher.Seed(key)
	g.rekey()
	g.seeded, g.last = true, platform.Nanotime()
}

// rekey replaces the key by output of the cipher, with g.mu held.
func (g *generator) rekey() {
	var key seed
	g.cipher.Read(key[:])
	g.cipher.Seed(key)
}

// fill fills p with random bytes.
func (g *generator) fill(p []byte) {
	for len(p) > 0 {
		n := min(len(p), longestHold)
		g.mu.Lock()
		old := platform.Nanotime()-g.last > reseedAfter
		g.cipher.Read(p[:n])
		g.rekey()
		g.mu.Unlock()
		p = p[n:]
		if old && g.busy.CompareAndSwap(false, true) {
			go func() {
				g.reseed(g.fast)
				g.reseed(g.slow)
				g.busy.Store(false)
			}()
		}
	}
}
