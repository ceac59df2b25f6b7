//go:build pith

package runtime

import (
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"unsafe"
)

// program is the code of a thread: a function, and the registers and the stack that
// the thread layer sees of it.
type program struct {
	s       *sim
	t       *vmThread
	code    func(*program)
	stack   []byte
	alt     []byte
	sp, ip  uintptr
	resumed chan struct{}
	calls   chan request
	runs    atomic.Bool
	kept    any // what a call was given the address of
}

// request is what a thread's code does next: system call num; or a step, at which an
// interrupt may come, or an exception.
type request struct {
	num                   uintptr
	step, fault           bool
	vector, code, address uintptr
}

// signal is what a handler is called with.
type signal struct {
	number  uintptr
	info    *siginfo
	context *ucontext
	sp      uintptr
}

const (
	simStackSize = 64 << 10
	simProgram   = 0x400000 // where the code of programs is; below are the handlers
)

func (s *sim) newProgram(code func(*program)) *program {
	p := &program{
		s: s, code: code, stack: make([]byte, simStackSize), ip: simProgram,
		resumed: make(chan struct{}), calls: make(chan request),
	}
	p.sp = top(p.stack)
	return p
}

// tls is the thread pointer, which is another one for each thread.
func (p *program) tls() uintptr { return top(p.stack) ^ 0xf00 }

// top is the address behind a stack.
func top(stack []byte) uintptr {
	return uintptr(unsafe.Pointer(unsafe.SliceData(stack))) + uintptr(len(stack))
}

// programOf is the code of thread t, which begins with its first time on a vCPU.
func (s *sim) programOf(t *vmThread) *program {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.programs[t]; p != nil {
		return p
	}
	p := s.starting[t.tls]
	if p == nil {
		s.fail("thread %d begins at %#x with thread pointer %#x, which no clone asked for", t.tid, t.ip, t.tls)
		runtime.Goexit()
	}
	delete(s.starting, t.tls)
	p.t = t
	s.programs[t] = p
	s.group.Go(func() {
		p.wait()
		for t.ip < simProgram { // a signal came before its first instruction
			p.handle()
		}
		p.code(p)
		s.mu.Lock()
		delete(s.programs, t)
		s.mu.Unlock()
		p.runs.Store(false)
		select {
		case p.calls <- request{num: nrExit}:
		case <-s.ended:
		}
	})
	return p
}

// resume runs the thread's code on vCPU c until its next request.
func (p *program) resume(c *simCPU) request {
	if !p.runs.CompareAndSwap(false, true) {
		p.s.fail("vCPU %d runs thread %d, which runs already", c.block.number, p.t.tid)
	}
	select {
	case p.resumed <- struct{}{}:
	case <-p.s.ended:
		runtime.Goexit()
	}
	select {
	case r := <-p.calls:
		return r
	case <-p.s.ended:
		runtime.Goexit()
	}
	panic("not reached")
}

func (p *program) wait() {
	select {
	case <-p.resumed:
	case <-p.s.ended:
		runtime.Goexit()
	}
}

// do makes a request and runs the handlers of the signals that come with it.
func (p *program) do(r request, args ...uintptr) uintptr {
	p.ip++
	t, ip, sp := p.t, p.ip, p.sp
	all := [5]uintptr{}
	copy(all[:], args)
	t.di, t.si, t.dx, t.r10, t.r8 = all[0], all[1], all[2], all[3], all[4]
	kept := [6]uintptr{ip ^ 1, ip ^ 2, ip ^ 3, ip ^ 4, ip ^ 5, ip ^ 6}
	t.bx, t.bp, t.r12, t.r13, t.r14, t.r15 = kept[0], kept[1], kept[2], kept[3], kept[4], kept[5]
	t.ip, t.sp, t.full = ip, sp, 0
	vector := (*uintptr)(unsafe.Pointer(&t.xsave[512]))
	*vector = ip
	if r.step {
		t.ax = ip
	}
	p.runs.Store(false)
	select {
	case p.calls <- r:
	case <-p.s.ended:
		runtime.Goexit()
	}
	p.wait()
	for t.ip < simProgram {
		p.handle()
	}
	after := [6]uintptr{t.bx, t.bp, t.r12, t.r13, t.r14, t.r15}
	if after != kept || t.ip != ip || t.sp != sp || r.step && (*vector != ip || t.ax != ip) {
		p.s.fail("thread %d: registers %#x, ip %#x, sp %#x became %#x, %#x, %#x by %+v", t.tid, kept, ip, sp, after, t.ip, t.sp, r)
	}
	return t.ax
}

// handle runs the handler that the thread layer has the thread continue in.
func (p *program) handle() {
	t, sp, ip := p.t, p.sp, p.ip
	p.s.mu.Lock()
	h := p.s.handlers[t.ip]
	p.s.mu.Unlock()
	frame := t.sp
	if h == nil {
		p.s.fail("thread %d continues at %#x, where there is no code", t.tid, t.ip)
		runtime.Goexit()
	}
	if frame%16 != 8 {
		p.s.fail("thread %d: the handler begins with stack pointer %#x", t.tid, frame)
	}
	p.sp = frame - 128
	h(p, signal{t.di, (*siginfo)(unsafe.Pointer(t.si)), (*ucontext)(unsafe.Pointer(t.dx)), frame})
	p.sp, p.ip = sp, ip
	t.sp, t.full = frame+16, 0
	p.runs.Store(false)
	select {
	case p.calls <- request{num: nrSigreturn}:
	case <-p.s.ended:
		runtime.Goexit()
	}
	p.wait()
}

// at is the address of what a call is given. It stays where it is: on the heap.
func at[T any](p *program, v *T) uintptr {
	p.kept = v
	return uintptr(unsafe.Pointer(v))
}

// call makes a system call.
func (p *program) call(num uintptr, args ...uintptr) uintptr { return p.do(request{num: num}, args...) }

// step is an instruction: interrupts come between such.
func (p *program) step() { p.do(request{step: true}) }

// fault is an instruction that raises an exception.
func (p *program) fault(vector, code, address uintptr) {
	p.do(request{step: true, fault: true, vector: vector, code: code, address: address})
}

// spin executes instructions until done.
func (p *program) spin(done func() bool) {
	for !done() {
		p.step()
	}
}

// clone starts a thread and returns its id, or an error.
func (p *program) clone(code func(*program)) uintptr {
	const threadFlags, setTLS = 0x50f00, 0x80000
	n := p.s.newProgram(code)
	p.s.mu.Lock()
	p.s.starting[n.tls()] = n
	p.s.mu.Unlock()
	return p.call(nrClone, threadFlags|setTLS, n.sp, 0, 0, n.tls())
}

// handler has signal sig handled by h.
func (p *program) handler(sig, flags uintptr, mask uint64, h func(*program, signal)) {
	p.s.mu.Lock()
	ip := uintptr(0x1000 + len(p.s.handlers))
	p.s.handlers[ip] = h
	p.s.mu.Unlock()
	p.action(sig, &vmSigaction{handler: ip, flags: flags, mask: mask})
}

func (p *program) action(sig uintptr, a *vmSigaction) {
	if r := p.call(nrSigaction, sig, at(p, a), 0, 8); r != 0 {
		p.s.fail("rt_sigaction for signal %d: %d", sig, int(r))
	}
}

func (p *program) mask(how uintptr, set uint64) (old uint64) {
	p.call(nrSigprocmask, how, at(p, &set), at(p, &old), 8)
	return old
}

const futexWait, futexWake = 128, 129

// futexWait waits while *word is v, for ns nanoseconds; ns 0 is without limit.
func (p *program) futexWait(word *uint32, v uint32, ns int64) uintptr {
	limit := uintptr(0)
	ts := new(timespec)
	if ns != 0 {
		ts.tv_sec, ts.tv_nsec = ns/1e9, ns%1e9
		limit = at(p, ts)
	}
	return p.call(nrFutex, at(p, word), futexWait, uintptr(v), limit)
}

func (p *program) futexWake(word *uint32, most uintptr) uintptr {
	return p.call(nrFutex, at(p, word), futexWake, most)
}

func (p *program) sleep(ns int64) uintptr {
	ts := &timespec{tv_sec: ns / 1e9, tv_nsec: ns % 1e9}
	return p.call(nrNanosleep, at(p, ts))
}

func (p *program) time(id int32) int64 {
	ts := new(timespec)
	if r := p.call(nrClockGettime, uintptr(uint32(id)), at(p, ts)); r != 0 {
		return -int64(-r)
	}
	return ts.tv_sec*1e9 + ts.tv_nsec
}

// await waits until a thread is in a state; it is for simulations.
func (p *program) await(tid uintptr, state uint32) {
	p.spin(func() bool { return (*vmThread)(unsafe.Pointer(vmThreads+(tid-1)*vmThreadSize)).state == state })
}

// Linux's errors as a call returns them.
func errno(n int) uintptr { return -uintptr(n) }

// Checks of what holds whenever nobody holds the lock.

// check says what is wrong with the thread layer's state; it is called when nobody
// holds the lock and no vCPU is at work.
func (s *sim) check() string {
	if problem := s.checkThreads(); problem != "" {
		return problem
	}
	queued, waiting, onTheWay, armed := 0, 0, 0, false
	calling := slices.ContainsFunc(s.cpus, func(c *simCPU) bool { return c.nucleus })
	for t := vm.head; t != nil; t = t.next {
		queued++
	}
	for _, c := range s.cpus[:s.running()] {
		switch {
		case c.nucleus || c.waits && c.due():
			onTheWay++
		case c.waits:
			waiting++
			if vm.idle>>c.block.number&1 == 0 && !calling {
				return fmt.Sprintf("vCPU %d waits, and is not among the idle ones (%b)", c.block.number, vm.idle)
			}
			if first := vm.cpus[c.block.number].earliest(); first != 0 && !armedFor(c.timer, first) {
				return fmt.Sprintf("vCPU %d waits with its timer at %d and a deadline at %d", c.block.number, c.timer, first)
			}
		}
		armed = armed || c.timer != 0
	}
	if queued > 0 && waiting > 0 && onTheWay == 0 {
		return fmt.Sprintf("%d vCPUs wait, and %d threads are runnable", waiting, queued)
	}
	if queued > 0 && onTheWay == 0 && !armed {
		return "threads are runnable, and no vCPU's timer will end the turn of those that run"
	}
	return ""
}

// armedFor reports whether a timer fires at most 10 µs after a deadline.
func armedFor(timer uint64, deadline int64) bool {
	const late = 10_000
	return timer != 0 && timer <= max(uint64(deadline)+uint64(vmclock.base), active.now())+late
}

// checkThreads checks that each thread is in one place, the one that its state
// names.
func (s *sim) checkThreads() string {
	places := map[*vmThread][]string{}
	put := func(t *vmThread, place string, state uint32) string {
		places[t] = append(places[t], place)
		if t.state != state {
			return fmt.Sprintf("thread %d is in the %s and in state %d", t.tid, place, t.state)
		}
		if len(places[t]) > 1 {
			return fmt.Sprintf("thread %d is in two places: %q", t.tid, places[t])
		}
		return ""
	}
	var last *vmThread
	for t := vm.head; t != nil; t = t.next {
		if problem := put(t, "run queue", vmRunnable); problem != "" {
			return problem
		}
		last = t
	}
	if last != vm.tail {
		return "the last thread of the run queue is not its tail"
	}
	for i, q := range vm.futexes {
		for t := q; t != nil; t = t.next {
			if problem := put(t, "futex queue", vmFutexWait); problem != "" {
				return problem
			}
			if int(t.addr>>3&63) != i {
				return fmt.Sprintf("thread %d waits for %#x in futex queue %d", t.tid, t.addr, i)
			}
		}
	}
	if t := vm.poller; t != nil {
		if problem := put(t, "poller's place", vmPollWait); problem != "" {
			return problem
		}
	}
	for t := vm.free; t != nil; t = t.next {
		if problem := put(t, "free list", vmDead); problem != "" {
			return problem
		}
	}
	sleepers := map[*vmThread]uint32{}
	for i := range vm.cpus {
		var prev *vmThread
		for t := vm.cpus[i].sleepers; t != nil; prev, t = t, t.sleepNext {
			if _, twice := sleepers[t]; twice || !t.sleeping || t.sleepPrev != prev || t.cpu != uint32(i) || t.deadline == 0 {
				return fmt.Sprintf("thread %d sleeps twice, or not as the list of vCPU %d says", t.tid, i)
			}
			if !slices.Contains([]uint32{vmFutexWait, vmPollWait, vmSleep}, t.state) {
				return fmt.Sprintf("thread %d sleeps in state %d", t.tid, t.state)
			}
			sleepers[t] = t.state
			if t.state == vmSleep {
				if problem := put(t, "list of sleepers", vmSleep); problem != "" {
					return problem
				}
			}
		}
	}
	var busy uint64
	for i := range vm.threads {
		t := (*vmThread)(unsafe.Pointer(vmThreads + i*vmThreadSize))
		if t.sleeping != (sleepers[t] != 0) {
			return fmt.Sprintf("thread %d sleeps, and no vCPU looks after its deadline", t.tid)
		}
		if t.state == vmRunning {
			if busy>>t.cpu&1 != 0 {
				return fmt.Sprintf("vCPU %d runs two threads, one is %d", t.cpu, t.tid)
			}
			busy |= 1 << t.cpu
			if problem := put(t, "vCPU", vmRunning); problem != "" {
				return problem
			}
		}
		if len(places[t]) == 0 {
			return fmt.Sprintf("thread %d is nowhere; its state is %d", t.tid, t.state)
		}
	}
	if busy&vm.idle != 0 {
		return fmt.Sprintf("vCPUs %b run threads, and %b count as idle", busy, vm.idle)
	}
	if vm.called != 0 {
		return fmt.Sprintf("vCPUs %b are to be interrupted, and nobody holds the lock", vm.called)
	}
	return ""
}

// dump describes the threads and vCPUs.
func (s *sim) dump() string {
	names := []string{"running", "runnable", "in futex_wait", "in epoll_wait", "asleep", "dead"}
	text := fmt.Sprintf("time %d, lock %d, idle vCPUs %b\n", s.now(), vm.lock, vm.idle)
	for _, c := range s.cpus {
		text += fmt.Sprintf("vCPU %d: waits %v, interrupted %v, timer %d, block %+v\n", c.block.number, c.waits, c.called.Load(), c.timer, c.block)
	}
	for i := range min(vm.threads, 20) {
		t := (*vmThread)(unsafe.Pointer(vmThreads + i*vmThreadSize))
		text += fmt.Sprintf("thread %d: %s, vCPU %d, futex %#x, deadline %d, sleeping %v, pending %#x, masked %#x\n",
			t.tid, names[t.state], t.cpu, t.addr, t.deadline, t.sleeping, t.pending, t.sigmask)
	}
	return text
}
