//go:build pith

package runtime

// Privileged instructions, and loops that the CPU makes of one instruction
// (trap_amd64.s).

func nucleuscpuid(leaf, sub uint32) (a, b, c, d uint32)
func nucleusrdmsr(msr uintptr) uintptr
func nucleuswrmsr(msr, v uintptr)
func nucleuscr2() uintptr
func nucleuscr3() uintptr
func nucleussetcr4(v uintptr)
func nucleusxsetbv(v uintptr)
func nucleusflushall()
func nucleusinvlpg(addr uintptr)
func nucleusfill(addr, n, v uintptr)
func nucleussame(addr, words, v uintptr) uintptr
func nucleusrow(addr, words, v, step uintptr)
func nucleuscopy(to, from, n uintptr)
func nucleusrelax()
func nucleusxchg(p uintptr, v uint32) uint32
func nucleusrdtsc() uintptr
func nucleusout(port, v uintptr)
func nucleusoutl(port, v uintptr)
func nucleusoutw(port, v uintptr)
func nucleusin(port uintptr) uintptr
func nucleusload(c *cpuState, tss uintptr)
func nucleustriple()
func nucleuslinked(which uintptr) uintptr
