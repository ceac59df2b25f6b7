package entropy

import (
	"bytes"
	"math/bits"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func fixed(b byte) source {
	return func(p *seed) bool {
		for i := range p {
			p[i] = b
		}
		return true
	}
}

func none(*seed) bool { return false }

// read starts a generator and reads from it.
func read(t *testing.T, fast, slow []source) []byte {
	t.Helper()
	g := new(generator)
	if !g.start(fast, slow) {
		t.Fatal("there is no seed")
	}
	p := make([]byte, 64)
	g.fill(p)
	return p
}

func TestEverySourceCounts(t *testing.T) {
	one := read(t, []source{fixed(1)}, nil)
	for name, other := range map[string][]byte{
		"another":              read(t, []source{fixed(2)}, nil),
		"one more":             read(t, []source{fixed(1), fixed(1)}, nil),
		"that cancels out":     read(t, []source{fixed(1), fixed(2), fixed(2)}, nil),
		"in the other order":   read(t, []source{fixed(2), fixed(1), fixed(2)}, nil),
		"that is all zeroes":   read(t, []source{fixed(0)}, nil),
		"zeroes and the first": read(t, []source{fixed(0), fixed(1)}, nil),
	} {
		if bytes.Equal(one, other) {
			t.Errorf("a source %s changes nothing", name)
		}
	}
	if !bytes.Equal(one, read(t, []source{none, fixed(1), none}, nil)) {
		t.Error("a source that has none was used")
	}
}

func TestTheDeviceIsWaitedForWhereTheCPUHasNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(p *seed) bool {
			time.Sleep(time.Second)
			return fixed(1)(p)
		}
		if !bytes.Equal(read(t, nil, []source{slow}), read(t, []source{fixed(1)}, nil)) {
			t.Error("the device is not what the numbers are made of")
		}
	})
}

func TestWithoutASourceThereIsNoSeed(t *testing.T) {
	if new(generator).start([]source{none}, []source{none}) {
		t.Error("seeded by nothing")
	}
	synctest.Test(t, func(t *testing.T) {
		silent := make(chan bool)
		before := time.Now()
		if new(generator).start(nil, []source{func(*seed) bool { return <-silent }}) {
			t.Error("seeded by a device that never answered")
		}
		if waited := time.Since(before); waited != longestWait {
			t.Errorf("waited %v", waited)
		}
		close(silent)
	})
}

func TestAnOldSeedIsRenewedByUse(t *testing.T) {
	var reads atomic.Int32
	renewed := make(chan bool, 2)
	g := new(generator)
	g.start([]source{func(p *seed) bool {
		reads.Add(1)
		renewed <- true
		return fixed(1)(p)
	}}, nil)
	<-renewed
	p := make([]byte, 8)
	g.fill(p)
	if reads.Load() != 1 {
		t.Error("renewed while it is young")
	}
	g.mu.Lock()
	g.last -= reseedAfter + 1
	g.mu.Unlock()
	g.fill(p)
	<-renewed
}

func TestAKeyDoesNotTellWhatItGave(t *testing.T) {
	g := new(generator)
	g.start([]source{fixed(1)}, nil)
	p := make([]byte, 64)
	g.fill(p)
	state, err := g.cipher.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+8 <= len(p); i++ {
		if bytes.Contains(state, p[i:i+8]) {
			t.Fatal("the state holds bytes that were given")
		}
	}
}

func TestTheNumbersLookRandom(t *testing.T) {
	p := make([]byte, 1<<20+7)
	g := new(generator)
	g.start([]source{fixed(1)}, nil)
	g.fill(p)
	var counts [256]int
	ones := 0
	for _, b := range p {
		counts[b]++
		ones += bits.OnesCount8(b)
	}
	if want := len(p) * 4; ones < want-want/500 || ones > want+want/500 {
		t.Errorf("%d bits of %d are set", ones, 2*want)
	}
	for b, n := range counts {
		if want := len(p) / 256; n < want*9/10 || n > want*11/10 {
			t.Errorf("byte %d comes %d times", b, n)
		}
	}
}

func TestTheCPUsInstructions(t *testing.T) {
	for _, read := range instructions() {
		var a, b seed
		if !read(&a) || !read(&b) || a == b || a == (seed{}) {
			t.Errorf("gave %x and %x", a, b)
		}
	}
	stuck := instruction(func() (uint64, bool) { return 1 << 63, true })
	empty := instruction(func() (uint64, bool) { return 0, false })
	if stuck.works() || empty.works() || empty.read(new(seed)) {
		t.Error("an instruction that gives nothing is believed")
	}
}

func TestFillAllocatesNothing(t *testing.T) {
	g := new(generator)
	g.start([]source{fixed(1)}, nil)
	p := make([]byte, 32)
	if n := testing.AllocsPerRun(100, func() { g.fill(p) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkFill32(b *testing.B) {
	g := new(generator)
	g.start([]source{fixed(1)}, nil)
	p := make([]byte, 32)
	for b.Loop() {
		g.fill(p)
	}
}
