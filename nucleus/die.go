//go:build pith

package runtime

import "unsafe"

// The end of the machine, and its last words. They go to the debug console of
// the monitor, or to the serial line.
// Reasons for the nucleus to end the machine, and exit codes.
const (
	dieStart = iota
	dieMemory
	dieLine
	dieModule
	dieCPU
	dieForeign

	exitMachine = 125 // cannot run here
	exitMemory  = 137 // as if killed by SIGKILL, as Linux does
	exitForeign = 159 // 128 + SIGSYS
	exitCrash   = 134 // 128 + SIGABRT
)

//go:nosplit
func nucleusDie(why int) {
	code := uintptr(exitMachine)
	switch {
	case why == dieStart:
		nucleusPrint("pith: the monitor passed no memory map: it must boot by PVH, version 1\n")
	case why == dieMemory:
		nucleusPrint("pith: out of memory: give the instance more\n")
		code = exitMemory
	case why == dieLine:
		nucleusPrint("pith: the boot parameters are too long: at most 1048575 bytes\n")
	case why == dieModule:
		nucleusPrint("pith: a boot module is where the image is, or not in memory below 4 GiB\n")
	case why == dieCPU:
		nucleusPrint("pith: the CPU lacks a feature that images need: NX, SYSCALL, FXSR or SSE2\n")
	case why == dieForeign:
		nucleusPrint("pith: killed: the program made a system call of its own, which an image cannot have\n")
		code = exitForeign
	}
	nucleusEnd(code)
}

//go:nosplit
func nucleusPrint(s string) {
	p := uintptr(unsafe.Pointer(unsafe.StringData(s)))
	for i := range uintptr(len(s)) {
		nucleusPut(uintptr(load8(p + i)))
	}
}

//go:nosplit
func nucleusHex(name string, v uintptr) {
	nucleusPrint(name)
	for shift := uintptr(64); shift > 0; {
		shift -= 4
		d := v >> shift & 15
		if d > 9 {
			d += 'a' - '0' - 10
		}
		nucleusPut(d + '0')
	}
}
