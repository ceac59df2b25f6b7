//go:build pith

package runtime

import "unsafe"

// The boot parameters (package pith/libos/boot) that the runtime needs before other Go code
// can run. The gate reads pithpid and pithsleepword.
var (
	pithpid       int32
	pithcpus      int32
	pithmemory    int64 // bytes
	pithsleepword uint32
	pithbootline  string
)

const pithBootVar = "PITH_BOOT="

// pithfindboot finds the boot parameters and reads the numbers that osinit needs. In a
// confined process they are the first environment variable.
func pithfindboot() {
	if pithvm != 0 {
		s := vmSharedPage()
		line := s.parameters()
		pithbootline = unsafe.String((*byte)(unsafe.Pointer(line.at)), line.n)
		pithpid = 1
		pithcpus = int32(vm.ncpus)
		pithmemory = int64(s.memory)
		if limit := line.number("mem="); limit != 0 {
			pithmemory = int64(min(limit, s.memory))
		}
		vdsoClockgettimeSym = vmclockaddress()
		return
	}
	p := argv_index(argv, argc+1)
	var line string
	if p != nil {
		line = gostringnocopy(p)
	}
	if len(line) < len(pithBootVar) || line[:len(pithBootVar)] != pithBootVar {
		writeErrStr("This is a Pith image. Start it with: pith run FILE\n")
		exit(125)
	}
	pithbootline = line[len(pithBootVar):]
	pithpid = int32(pithbootnum("pid="))
	pithcpus = int32(max(pithbootnum("cpus="), 1))
	pithmemory = pithbootnum("mem=")
}

// pithbootnum returns the number that follows key in the boot parameters, or 0.
func pithbootnum(key string) int64 {
	s := pithbootline
	for i := 0; i+len(key) <= len(s); i++ {
		if (i > 0 && s[i-1] != ' ') || s[i:i+len(key)] != key {
			continue
		}
		n := int64(0)
		for i += len(key); i < len(s) && '0' <= s[i] && s[i] <= '9'; i++ {
			n = n*10 + int64(s[i]-'0')
		}
		return n
	}
	return 0
}

// osinit is the first Go function of the runtime. It runs on the only thread.
func osinit() {
	pithfindboot()
	linuxosinit()
}

// goenvs makes the environment. It removes the boot parameters from it.
func goenvs() {
	linuxgoenvs()
	if pithvm == 0 {
		envs = envs[1:]
	}
}

// getCPUCount returns the value of --cpus.
func getCPUCount() int32 { return pithcpus }

// readGOMEMLIMIT returns the variable's value, or nine tenths of the instance's memory. The
// rest is for memory that the garbage collector does not count.
func readGOMEMLIMIT() int64 {
	if gogetenv("GOMEMLIMIT") == "" && pithmemory > 0 {
		return pithmemory / 10 * 9
	}
	return linuxreadGOMEMLIMIT()
}

// vgetrandomInit does nothing, so that the runtime does not use the vDSO's getrandom. That
// function may fall back to a system call that a confined process must not make.
func vgetrandomInit() {}

// pithrandom fills p with random bytes. The library OS sets it.
var pithrandom func(p []byte)

//go:linkname pithplatformsetrandom pith/libos/platform.setRandom
func pithplatformsetrandom(fill func(p []byte)) { pithrandom = fill }

// vgetrandom is getrandom(2) as a function, like the vDSO's. p may be on the caller's stack.
// It is a slice and not an address, so the runtime updates it when the stack moves.
//
//go:linkname vgetrandom
func vgetrandom(p []byte, flags uint32) (ret int, supported bool) {
	const nonblock, random, insecure = 1, 2, 4
	if pithrandom == nil {
		return -1, false
	}
	if flags&^(nonblock|random|insecure) != 0 || flags&random != 0 && flags&insecure != 0 {
		return -_EINVAL, true
	}
	pithrandom(p)
	return len(p), true
}

// dieFromSignal ends the instance with the exit code that a shell gives a process killed by
// sig. The signal itself cannot kill the instance, which is process 1 of its namespace.
//
//go:nosplit
//go:nowritebarrierrec
func dieFromSignal(sig uint32) { exit(int32(128 + sig)) }
