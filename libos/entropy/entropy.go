// Package entropy is where a virtual machine's random numbers come from: a
// generator that is seeded, and seeded again while it is used, by the CPU's
// instructions and by an entropy device. Package machine starts it, before the
// program's packages are initialised; platform.Random reads it.
//
// The generator is ChaCha8, with a new key after each request: who sees its
// memory learns nothing of numbers that it has given before.
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

// source fills a seed with entropy; false: it has none.
type source func(p *seed) bool

// Start finds the sources and has platform.Random be served. A machine without
// one ends, with a line that says what it needs: what it could give instead
// would be no secret.
func Start() {
	g := new(generator)
	if !g.start(instructions(), devices()) {
		say("there is no source of random numbers: the machine needs a CPU with RDRAND (QEMU: -cpu max) or an entropy device (-device virtio-rng-device, virtio-rng-pci)")
		platform.Exit(boot.ExitFailure)
	}
	platform.SetEntropy(g.fill)
}

func say(line string) { platform.ConsoleWrite(2, []byte("pith: "+line+"\n")) }

// devices are the entropy devices.
func devices() []source {
	var found []source
	for _, t := range virtio.Find(virtio.IDEntropy) {
		d, errno := rng.Open(t)
		if errno != 0 {
			say("device " + t.Name() + " (entropy) does not start: " + errno.Name())
			continue
		}
		found = append(found, func(p *seed) bool { return d.Read(p[:]) == 0 })
	}
	return found
}

// generator makes random numbers of a seed.
type generator struct {
	mu     sync.Mutex
	cipher *rand.ChaCha8
	seeded bool
	last   int64 // when it was seeded

	fast, slow []source
	busy       atomic.Bool // sources are being read for a new seed
}

const (
	// reseedAfter is the age of a seed, in nanoseconds, at which the next
	// request brings a new one.
	reseedAfter = 60e9
	// longestWait is how long a machine waits for its first seed.
	longestWait = 5e9
	// longestHold is how many bytes are made before others have a turn.
	longestHold = 64 << 10
)

// start seeds the generator. fast sources answer at once; slow ones are waited
// for only if there is no other. false: there is no seed.
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

// reseed has each of the sources change the key.
func (g *generator) reseed(sources []source) {
	for _, read := range sources {
		var p seed
		if read(&p) {
			g.absorb(&p)
		}
	}
}

// absorb makes a new key of the old one and p, each of which is enough to keep
// it secret: it is the cipher's output under both.
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

// rekey forgets the key, with g.mu held.
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
