//go:build pith

package runtime

import "unsafe"

// vmStart runs first at CPL 3, on the first CPU. It makes the first thread. On the
// thread's stack it puts what Linux's execve leaves there (System V ABI AMD64, §3.4.1).
//
//go:nosplit
func vmStart() *vmThread {
	vmLock()
	s := vmSharedPage()
	pithvm = 1
	vm.mmap = vmMmapTop - vmSeed()%(1<<18)*pageSize2 // differs from boot to boot
	vmClockStart(s.khz)
	vmWallStart()
	vmnucleus(callMap, vmThreads, vmMaxThreads*vmThreadSize, protRead|protWrite, 0)

	if pa := s.parameters().number("doorbell="); pa != 0 {
		if at := vmPlace(callDevice, 1, pa, 0); at < nucleusFirstErr {
			vm.doorbell = at
		}
	}

	t := vmNewThread()
	t.state = vmRunning
	t.since = vmNow()
	t.this().slice = t.since + vmSlice
	t.enter(vmrt0(), vmArguments(s))

	vm.ncpus = min(s.cpus, maxCPUs)
	if asked := s.parameters().number("cpus="); asked != 0 {
		vm.ncpus = min(vm.ncpus, asked)
	}
	vmStartNext(1)
	return vmLeave(t)
}

// vmStartNext starts CPU number if the VM has so many. Each CPU starts the next one, so
// that none waits for another.
//
//go:nosplit
func vmStartNext(number uintptr) {
	if number < vm.ncpus {
		vmnucleus(callStart, number, number, 0, 0)
	}
}

// parameters returns the boot parameters of the monitor.
//
//go:nosplit
func (s *vmShared) parameters() vmLine { return vmLine{userShared + pageSize4, s.line} }

// vmLine is boot parameters (package boot), or one of them.
type vmLine struct{ at, n uintptr }

// word returns the first parameter from an offset on, and the offset behind it.
//
//go:nosplit
func (l vmLine) word(from uintptr) (w vmLine, next uintptr) {
	for from < l.n && vmSpace(load8(l.at+from)) {
		from++
	}
	end := from
	for end < l.n && !vmSpace(load8(l.at+end)) {
		end++
	}
	return vmLine{l.at + from, end - from}, end
}

//go:nosplit
func vmSpace(b uint8) bool { return b == ' ' || '\t' <= b && b <= '\r' }

// after returns what follows key in a parameter that begins with it.
//
//go:nosplit
func (l vmLine) after(key string) (vmLine, bool) {
	k := uintptr(len(key))
	if l.n < k {
		return vmLine{}, false
	}
	for i := range k {
		if load8(l.at+i) != load8(uintptr(unsafe.Pointer(unsafe.StringData(key)))+i) {
			return vmLine{}, false
		}
	}
	return vmLine{l.at + k, l.n - k}, true
}

// number returns the number that follows key in the boot parameters, or 0.
//
//go:nosplit
func (l vmLine) number(key string) uintptr {
	for w, at := l.word(0); w.n != 0; w, at = l.word(at) {
		if v, ok := w.after(key); ok {
			n := uintptr(0)
			for i := range v.n {
				d := uintptr(load8(v.at+i)) - '0'
				if d > 9 {
					break
				}
				n = n*10 + d
			}
			return n
		}
	}
	return 0
}

// copyTo writes the text to p with its escapes resolved, and a zero byte. It returns
// the address behind that.
//
//go:nosplit
func (l vmLine) copyTo(p uintptr) uintptr {
	for i := uintptr(0); i < l.n; i++ {
		b := load8(l.at + i)
		if b == '%' && i+2 < l.n {
			b = hexDigit(load8(l.at+i+1))<<4 | hexDigit(load8(l.at+i+2))
			i += 2
		}
		*(*uint8)(unsafe.Pointer(p)) = b
		p++
	}
	*(*uint8)(unsafe.Pointer(p)) = 0
	return p + 1
}

//go:nosplit
func hexDigit(b uint8) uint8 {
	if b >= 'a' {
		return b - 'a' + 10
	}
	if b >= 'A' {
		return b - 'A' + 10
	}
	return b - '0'
}

// vmStackSize is the size in bytes of the first thread's stack, below its arguments.
const vmStackSize = 1 << 20

// vmArguments maps the first thread's stack. It writes arguments, environment and
// auxiliary vector behind the stack, and returns the stack pointer. If the monitor's
// parameters have no arguments, it takes the image's own.
//
//go:nosplit
func vmArguments(s *vmShared) uintptr {
	line := s.parameters()
	own := vmLine{s.defaults[0], s.defaults[1]}
	// Pointers go up from sp, and texts begin behind them. A parameter with its
	// separator has at least 5 bytes. If it has n, it makes a pointer of 8 bytes
	// and a text of less than n. A page is enough for the rest.
	sp := uintptr(vmStackArea + vmStackSize)
	text := sp + 2*(line.n+own.n) + pageSize4/2
	size := (text + line.n + own.n + pageSize4/2 - vmStackArea + pageSize4 - 1) &^ (pageSize4 - 1)
	vmnucleus(callMap, vmStackArea, size, protRead|protWrite, 0)

	args := uintptr(0)
	put := sp + 8
	from := line
	if line.count("arg=") == 0 {
		from = own
	}
	put, text, args = from.pointers("arg=", put, text)
	if args == 0 {
		store64(put, text)
		text = vmLine{uintptr(unsafe.Pointer(unsafe.StringData("pith"))), 4}.copyTo(text)
		put += 8
		args = 1
	}
	store64(sp, args)
	store64(put, 0)
	put += 8
	put, text, _ = own.pointers("env=", put, text)
	put, text, _ = line.pointers("env=", put, text)
	store64(put, 0)
	put += 8

	const (
		atPhdr, atPhent, atPhnum, atPagesz = 3, 4, 5, 6
		atSecure, atRandom                 = 23, 25
	)
	h := (*elfHeader)(unsafe.Pointer(s.image))
	random := (text + 15) &^ 15
	store64(random, vmSeed())
	store64(random+8, vmSeed())
	put = vmAux(put, atPhdr, s.image+uintptr(h.phoff))
	put = vmAux(put, atPhent, uintptr(h.phent))
	put = vmAux(put, atPhnum, uintptr(h.phnum))
	put = vmAux(put, atPagesz, pageSize4)
	put = vmAux(put, atSecure, 0)
	put = vmAux(put, atRandom, random)
	vmAux(put, 0, 0)
	return sp
}

//go:nosplit
func vmAux(p, kind, v uintptr) uintptr {
	store64(p, kind)
	store64(p+8, v)
	return p + 16
}

//go:nosplit
func (l vmLine) count(key string) uintptr {
	n := uintptr(0)
	for w, at := l.word(0); w.n != 0; w, at = l.word(at) {
		if _, ok := w.after(key); ok {
			n++
		}
	}
	return n
}

// pointers writes the values of key to text, and their addresses to put. It returns
// both addresses advanced, and the number of values.
//
//go:nosplit
func (l vmLine) pointers(key string, put, text uintptr) (uintptr, uintptr, uintptr) {
	n := uintptr(0)
	for w, at := l.word(0); w.n != 0; w, at = l.word(at) {
		if v, ok := w.after(key); ok {
			store64(put, text)
			put += 8
			text = v.copyTo(text)
			n++
		}
	}
	return put, text, n
}
