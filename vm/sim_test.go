//go:build pith

package runtime

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// sim is a virtual machine in a process of the host. Each vCPU is a goroutine on an
// OS thread of its own; it runs the thread layer as it is and calls the functions
// at the end of this file instead of the nucleus and the CPU. The code of a thread
// is a goroutine too (program). It hands its system calls to the vCPU that runs it,
// and goes on when a vCPU resumes the thread.
//
// A sim with a seed is a simulation: one vCPU at a time has the turn, the seed
// chooses which, and time is a number. It does the same each time, and knows when
// every vCPU waits for ever. A sim without one runs its vCPUs in parallel, in real
// time.
type sim struct {
	t      testing.TB
	cpus   []*simCPU
	seed   *rand.Rand    // nil: in parallel
	turn   chan struct{} // a vCPU gives the turn back
	holder *simCPU       // of the turn
	clock  atomic.Uint64 // of a simulation: nanoseconds
	start  time.Time
	steps  int

	once  sync.Once
	ended chan struct{} // closed at the end
	code  int           // exit code
	group sync.WaitGroup

	mu       sync.Mutex
	programs map[*vmThread]*program
	starting map[uintptr]*program // by thread pointer
	handlers map[uintptr]func(*program, signal)
	mapped   []vmRange           // what is mapped, in order of calls
	calls    map[uintptr]int     // nucleus calls by number
	discards []vmRange           // arguments of callDiscard
	console  []byte              // what was written to ports
	cmos     map[uintptr]uintptr // registers of the CMOS clock
	register uintptr             // the one that is selected
}

// simCPU is a vCPU.
type simCPU struct {
	s       *sim
	block   cpuBlock
	given   chan struct{} // the turn
	woken   chan struct{} // in parallel: an interrupt came
	called  atomic.Bool   // an interrupt of another vCPU or a device came
	timer   uint64        // when the timer fires; 0: it is not set
	tls     uintptr       // the thread pointer
	waits   bool          // in callWait
	nucleus bool          // in another nucleus call
}

// Constants of Linux's that package runtime has in files with much else.
const (
	_EINVAL = 22

	_SS_DISABLE  = 2
	_SIG_BLOCK   = 0
	_SIG_UNBLOCK = 1
	_SIG_SETMASK = 2
	_SI_TKILL    = -6

	_si_max_size    = 128
	_sigev_max_size = 64
)

// Sizes of what a sim has.
const (
	simThreads = 512
	simShared  = 1 << 20
	simStack   = vmStackSize + 1<<20
	simMemory  = 64 << 20
)

// The areas that have a fixed address in a virtual machine. The race detector
// watches the area of threads, which the lock protects. It does not see the shared
// page: the nucleus writes there at any time.
var (
	threadArea  [simThreads * vmThreadSize]byte
	vmThreads   = uintptr(unsafe.Pointer(&threadArea))
	userShared  = area(simShared)
	vmStackArea = area(simStack)
)

func area(size int) uintptr {
	b, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		panic(err)
	}
	return uintptr(unsafe.Pointer(&b[0]))
}

// active is the sim of the test that runs.
var active *sim

// onThread has the vCPU of each OS thread that is one, in parallel.
var onThread sync.Map

// current is the vCPU that calls, or nil.
func current() *simCPU {
	if active.seed != nil {
		return active.holder
	}
	c, _ := onThread.Load(syscall.Gettid())
	cpu, _ := c.(*simCPU)
	return cpu
}

// newSim makes a virtual machine. seed 0 means in parallel.
func newSim(t testing.TB, cpus int, seed uint64) *sim {
	s := &sim{
		t: t, start: time.Now(), turn: make(chan struct{}), ended: make(chan struct{}),
		programs: map[*vmThread]*program{}, starting: map[uintptr]*program{}, handlers: map[uintptr]func(*program, signal){},
		calls: map[uintptr]int{}, cmos: map[uintptr]uintptr{},
	}
	if seed != 0 {
		s.seed = rand.New(rand.NewPCG(seed, 0))
	}
	s.clock.Store(1_000_000)
	for i := range cpus {
		c := &simCPU{s: s, given: make(chan struct{}), woken: make(chan struct{}, 1)}
		c.block.number = uint32(i)
		s.cpus = append(s.cpus, c)
	}
	clear(threadArea[:min(vm.threads, simThreads)*vmThreadSize])
	clear(unsafe.Slice((*byte)(unsafe.Pointer(&vm)), unsafe.Sizeof(vm)))
	clear(unsafe.Slice((*byte)(unsafe.Pointer(userShared)), simShared))
	vmclock.base, vmclock.mult, vmclock.wall = 0, 0, 0
	p := vmSharedPage()
	p.khz, p.memory, p.cpus = 1_000_000, simMemory, uintptr(cpus)
	p.image = userShared + simShared/2
	s.parameters("cpus=" + fmt.Sprint(cpus))
	active = s
	return s
}

// parameters sets the boot parameters.
func (s *sim) parameters(line string) {
	copy(unsafe.Slice((*byte)(unsafe.Pointer(userShared+pageSize4)), simShared/4), line)
	vmSharedPage().line = uintptr(len(line))
}

// run boots the virtual machine, whose first thread runs main, and returns the exit
// code. It ends with exit_group, or when main returns.
func (s *sim) run(main func(p *program)) int {
	s.t.Helper()
	p := s.newProgram(func(p *program) { main(p); p.call(nrExitGroup, 0) })
	s.starting[0] = p
	s.startCPU(0, vmStart)
	if s.seed != nil {
		s.simulate()
	}
	select {
	case <-s.ended:
	case <-time.After(time.Minute):
		s.fail("the program did not end within a minute")
	}
	s.group.Wait()
	return s.code
}

// end ends the run.
func (s *sim) end(code int) {
	s.once.Do(func() { s.code = code; close(s.ended) })
}

// fail ends the run because something is wrong.
func (s *sim) fail(format string, args ...any) {
	s.once.Do(func() {
		s.t.Errorf("%s\n%s", fmt.Sprintf(format, args...), s.dump())
		s.code = -1
		close(s.ended)
	})
}

// leave ends the goroutine that calls if the run is over.
func (s *sim) leave() {
	select {
	case <-s.ended:
		runtime.Goexit()
	default:
	}
}

// startCPU starts vCPU n at the function start.
func (s *sim) startCPU(n int, start func() *vmThread) {
	c := s.cpus[n]
	s.group.Go(func() {
		if s.seed != nil {
			c.take()
		} else {
			runtime.LockOSThread() // and never unlocked: the OS thread ends with the goroutine
			onThread.Store(syscall.Gettid(), c)
			defer onThread.Delete(syscall.Gettid())
		}
		c.run(start())
	})
}

// take waits for the turn.
func (c *simCPU) take() {
	select {
	case <-c.given:
	case <-c.s.ended:
		runtime.Goexit()
	}
}

// yield lets another vCPU of a simulation have the turn.
func (c *simCPU) yield() {
	if c.s.seed == nil {
		c.s.leave()
		return
	}
	select {
	case c.s.turn <- struct{}{}:
	case <-c.s.ended:
		runtime.Goexit()
	}
	c.take()
}

// simulate gives the turn to one vCPU after the other until the end. When all wait,
// time goes on to the next timer.
func (s *sim) simulate() {
	for {
		var ready []*simCPU
		next := ^uint64(0)
		for _, c := range s.cpus[:s.running()] {
			if !c.waits || c.due() {
				ready = append(ready, c)
			}
			if c.timer != 0 {
				next = min(next, c.timer)
			}
		}
		if len(ready) == 0 {
			if next == ^uint64(0) {
				s.fail("every vCPU waits, and nothing will wake one")
				return
			}
			s.clock.Store(next)
			continue
		}
		longest := uint64(2000)
		if s.seed.IntN(8) == 0 {
			longest = 200_000
		}
		s.clock.Add(s.seed.Uint64N(longest))
		c := ready[s.seed.IntN(len(ready))]
		s.holder = c
		select {
		case c.given <- struct{}{}:
		case <-s.ended:
			return
		}
		select {
		case <-s.turn:
		case <-s.ended:
			return
		}
		s.steps++
		if problem := s.check(); problem != "" {
			s.fail("after step %d: %s", s.steps, problem)
			return
		}
	}
}

// running is the number of vCPUs that have been started.
func (s *sim) running() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return 1 + s.calls[callStart]
}

// now is the time in nanoseconds, which is also the counter that the clock reads.
func (s *sim) now() uint64 {
	if s.seed != nil {
		return s.clock.Load()
	}
	return uint64(time.Since(s.start)) + 1_000_000
}

// due reports whether an interrupt has come.
func (c *simCPU) due() bool {
	return c.called.Load() || c.timer != 0 && c.timer <= c.s.now()
}

// interrupt sends a device's interrupt to the first vCPU.
func (s *sim) interrupt(vector uintptr) {
	irqs := &vmSharedPage().irqs[vector/64]
	for old := atomic.LoadUint64(irqs); !atomic.CompareAndSwapUint64(irqs, old, old|1<<(vector%64)); old = atomic.LoadUint64(irqs) {
	}
	s.cpus[0].call()
}

// call interrupts the vCPU.
func (c *simCPU) call() {
	c.called.Store(true)
	select {
	case c.woken <- struct{}{}:
	default:
	}
}

// note does what the nucleus does at an interrupt, and reports whether one came.
func (c *simCPU) note() bool {
	came := c.called.Swap(false)
	if c.timer != 0 && c.timer <= c.s.now() {
		c.timer, c.block.timer = 0, 1
		came = true
	}
	return came
}

// masked notes interrupts that come while the thread layer is at work.
func (c *simCPU) masked() {
	if (c.s.seed == nil || c.s.seed.IntN(2) == 0) && c.note() {
		c.block.pending = 1
	}
}

// run runs threads, t first.
func (c *simCPU) run(t *vmThread) {
	for {
		t = c.restore(t)
		p := c.s.programOf(t)
		r := p.resume(c)
		c.yield()
		switch {
		case !r.step:
			c.block.masked = 1
			t = vmCall(t, r.num)
		case r.fault || c.note():
			c.block.masked, c.block.vector, c.block.code, c.block.address = 1, vectorIPI, 0, 0
			if r.fault {
				c.block.vector, c.block.code, c.block.address = r.vector, r.code, r.address
			}
			t.full, t.flags = 1, flagsUser
			t = vmUpcall(t)
		}
	}
}

// restore is vmrestore: it takes the interrupts that came meanwhile.
func (c *simCPU) restore(t *vmThread) *vmThread {
	for {
		c.block.thread = uintptr(unsafe.Pointer(t))
		c.block.masked = 0
		c.masked()
		if c.block.pending == 0 {
			break
		}
		c.block.masked, c.block.vector = 1, vectorIPI
		t = vmUpcall(t)
	}
	if t.state != vmRunning || t.cpu != c.block.number {
		c.s.fail("vCPU %d runs thread %d, which is in state %d on vCPU %d", c.block.number, t.tid, t.state, t.cpu)
	}
	if c.tls != t.tls {
		c.s.fail("vCPU %d runs thread %d with thread pointer %#x instead of %#x", c.block.number, t.tid, c.tls, t.tls)
	}
	return t
}

// What the thread layer finds below it.

func vmnucleus(num, a1, a2, a3, a4 uintptr) uintptr {
	s, c := active, current()
	s.mu.Lock()
	s.calls[num]++
	s.mu.Unlock()
	c.masked()
	switch num {
	case callExit:
		s.end(int(a1))
		runtime.Goexit()
	case callWait:
		c.wait(uint64(a1))
	case callArm:
		c.inNucleus()
		c.timer = uint64(a1)
	case callIPI:
		c.inNucleus()
		s.cpus[a1].call()
	case callStart:
		s.startCPU(int(a1), vmStartOther)
	case callTLS:
		c.tls = a1
	default:
		return s.memoryCall(num, a1, a2, a3)
	}
	return 0
}

// inNucleus lets other vCPUs have the turn while this one is in the nucleus.
func (c *simCPU) inNucleus() {
	c.nucleus = true
	c.yield()
	c.nucleus = false
}

// wait is callWait.
func (c *simCPU) wait(timer uint64) {
	if timer != 0 {
		c.timer = timer
	}
	if c.block.pending != 0 {
		c.inNucleus()
		return
	}
	c.waits = true
	for !c.due() {
		if c.s.seed != nil {
			c.yield()
			continue
		}
		var fires <-chan time.Time
		if c.timer != 0 {
			fires = time.After(time.Duration(c.timer - min(c.timer, c.s.now())))
		}
		select {
		case <-c.woken:
		case <-fires:
		case <-c.s.ended:
			runtime.Goexit()
		}
	}
	c.waits = false
	c.note()
	c.block.pending = 1
}

// memoryCall is a nucleus call about memory. It keeps what is mapped, as ranges.
func (s *sim) memoryCall(num, addr, n, prot uintptr) uintptr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if num == callDMA || num == callDevice || num == callFirmware {
		if num == callDMA {
			n *= pageSize4
		} else {
			n = prot * pageSize4
		}
	}
	overlaps := slices.ContainsFunc(s.mapped, func(r vmRange) bool { return addr < r.addr+r.n && r.addr < addr+n })
	switch num {
	case callMap:
		if prot&mapFixed == 0 && overlaps {
			return nucleusEEXIST
		}
		s.unmap(addr, n)
		s.mapped = append(s.mapped, vmRange{addr, n})
	case callDMA, callDevice, callFirmware:
		if overlaps {
			return nucleusEEXIST
		}
		s.mapped = append(s.mapped, vmRange{addr, n})
		return 0x100000
	case callUnmap:
		s.unmap(addr, n)
	case callDiscard:
		s.discards = append(s.discards, vmRange{addr, n})
	case callProtect:
	default:
		return nucleusENOSYS
	}
	return 0
}

func (s *sim) unmap(addr, n uintptr) {
	var kept []vmRange
	for _, r := range s.mapped {
		if from, to := r.addr, min(r.addr+r.n, addr); from < to {
			kept = append(kept, vmRange{from, to - from})
		}
		if from, to := max(r.addr, addr+n), r.addr+r.n; from < to {
			kept = append(kept, vmRange{from, to - from})
		}
	}
	s.mapped = kept
}

func vmblock() *cpuBlock {
	c := current()
	c.masked()
	return &c.block
}

func vmcounter() uintptr { return uintptr(active.now()) }

func vmscale(v, mult uintptr) uintptr {
	high, low := bits.Mul64(uint64(v), uint64(mult))
	return uintptr(high<<32 | low>>32)
}

func vmxchg(p *uint32, v uint32) uint32 {
	if c := current(); c != nil {
		c.masked()
	}
	return atomic.SwapUint32(p, v)
}

func vmxchg64(p *uint64, v uint64) uint64 { return atomic.SwapUint64(p, v) }

func vmpause() {
	if active.seed != nil {
		active.fail("a vCPU waits for the lock, which another one holds while it has not the turn")
	}
	active.leave()
	runtime.Gosched()
}

func vmrt0() uintptr                 { return 0x400000 }
func vmwrfsbase(v uintptr)           { current().tls = v }
func vmrdrand() (v uintptr, ok bool) { return 0, false }
func memmove(to, from unsafe.Pointer, n uintptr) {
	copy(unsafe.Slice((*byte)(to), n), unsafe.Slice((*byte)(from), n))
}
func memclrNoHeapPointers(p unsafe.Pointer, n uintptr) { clear(unsafe.Slice((*byte)(p), n)) }

// vmcpuid has no features, RDRAND included.
func vmcpuid(leaf, sub uint32) (a, b, c, d uint32) { return 0, 0, 0, 0 }

// I/O ports: the CMOS clock and the debug console.

func vmin8(port uintptr) uintptr {
	switch port {
	case 0x70:
		return 0
	case 0x71:
		return active.cmos[active.register]
	case portText:
		return portThere
	}
	return 0xff
}

func vmout8(port, v uintptr) {
	if port == 0x70 {
		active.register = v
	}
}

func vmouts(port, p, n uintptr) {
	active.console = append(active.console, unsafe.Slice((*byte)(unsafe.Pointer(p)), n)...)
}

func vmin16(port uintptr) uintptr { return 0xffff }
func vmin32(port uintptr) uintptr { return 0xffffffff }
func vmout16(port, v uintptr)     {}
func vmout32(port, v uintptr)     {}

// readClock calls vmclockgettime.
func readClock(id int64, ts *timespec)
