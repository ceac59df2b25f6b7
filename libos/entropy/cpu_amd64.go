package entropy

func cpuid(leaf, sub uint32) (b, c uint32)
func maxLeaf() uint32
func rdrand() (v uint64, ok bool)
func rdseed() (v uint64, ok bool)

// instruction is a CPU instruction that returns a random number. ok is false if it has
// none at the moment.
type instruction func() (v uint64, ok bool)

// instructions returns those that the CPU has (Intel SDM 1 §7.3.17).
func instructions() []source {
	const (
		rdrandBit = 1 << 30 // leaf 1, ECX
		rdseedBit = 1 << 18 // leaf 7, EBX
	)
	var found []source
	if maxLeaf() >= 7 {
		if b, _ := cpuid(7, 0); b&rdseedBit != 0 && instruction(rdseed).works() {
			found = append(found, instruction(rdseed).read)
		}
	}
	if _, c := cpuid(1, 0); c&rdrandBit != 0 && instruction(rdrand).works() {
		found = append(found, instruction(rdrand).read)
	}
	return found
}

// works reports whether the instruction returns different numbers. Some CPUs return the
// same one forever after a sleep (Linux, arch/x86/kernel/cpu/rdrand.c).
func (i instruction) works() bool {
	first, ok := i.next()
	const tries = 8
	for n := 0; ok && n < tries; n++ {
		var v uint64
		if v, ok = i.next(); ok && v != first {
			return true
		}
	}
	return false
}

// next tries several times, as the manual recommends.
func (i instruction) next() (v uint64, ok bool) {
	const tries = 100
	for n := 0; n < tries && !ok; n++ {
		v, ok = i()
	}
	return v, ok
}

func (i instruction) read(p *seed) bool {
	for n := 0; n < len(p); n += 8 {
		v, ok := i.next()
		if !ok {
			return false
		}
		for b := range 8 {
			p[n+b] = byte(v >> (8 * b))
		}
	}
	return true
}
