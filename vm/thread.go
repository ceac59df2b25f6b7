//go:build pith

package runtime

import (
	"internal/runtime/sys"
	"unsafe"
)

// In a virtual machine the threads of the Go runtime are made here: at CPL 3,
// in the address space of the program. A CPU comes here by a system call of the
// thread that it runs (vmCall), or because the nucleus diverts it after an
// interrupt or a fault (vmUpcall), and leaves with the thread to run next. In
// between it is masked: nothing takes it away. All state is under vm.lock.

// vmThread is a thread, at a page of its own in the area of threads.
type vmThread struct {
	_ sys.NotInHeap

	vmRegisters

	state uint32
	tid   int32
	cpu   uint32 // where it last ran, and where its deadline is looked after

	next                 *vmThread // in the run queue, a futex queue or the free list
	addr                 uintptr   // of the futex that it waits for
	events               uintptr   // where epoll_pwait wants its events
	maxevents            uintptr
	deadline             int64 // of the wait; 0: none
	sleepNext, sleepPrev *vmThread
	sleeping             bool

	since, used int64 // CPU time: running since, and used before

	sigmask, pending uint64
	altSP, altSize   uintptr
	altFlags         int32
	fault            vmFault
}

// States of a thread.
const (
	vmRunning = iota
	vmRunnable
	vmFutexWait
	vmPollWait
	vmSleep
	vmDead
)

const (
	vmThreads    = 0x7fffc0000000 // the area of threads
	vmMaxThreads = 0x8000
	vmThreadSize = 8192
	vmSlice      = 2e6 // nanoseconds that a thread runs while others wait
	vmStackArea  = 0x7fffb0000000
	vmMmapTop    = 0x7f8000000000
)

var vm struct {
	lock  uint32
	ncpus uintptr
	cpus  [maxCPUs]vmCPU

	head, tail *vmThread // run queue
	idle       uint64    // CPUs that wait
	called     uint64    // CPUs that vmUnlock is to interrupt
	threads    uintptr   // made so far
	free       *vmThread
	usedByDead int64

	futexes [64]*vmThread
	poller  *vmThread
	wake    uint64 // the poller's eventfd
	sources [vectors]vmSource
	mmap    uintptr
	unused  vmUnused

	sigactions [128]vmSigaction

	doorbell uintptr // where a write of a CPU's number interrupts it; 0: there is none
}

type vmCPU struct {
	sleepers *vmThread
	armed    int64   // what the timer is set to; 0: nothing
	tls      uintptr // what its thread pointer is set to
	slice    int64   // when the running thread has had its share
}

// pithvm says that the instance is a virtual machine. The gate reads it.
var pithvm uint8

//go:nosplit
func vmLock() {
	for vmxchg(&vm.lock, 1) != 0 {
		vmpause()
	}
}

// vmUnlock also interrupts the CPUs that have been called, by work or by a
// signal: not under the lock, which that would keep for long.
//
//go:nosplit
func vmUnlock() {
	called := vm.called
	vm.called = 0
	vmxchg(&vm.lock, 0)
	for called != 0 {
		cpu := lowestBit(uintptr(called))
		called &^= 1 << cpu
		if vm.doorbell != 0 {
			*(*uint32)(unsafe.Pointer(vm.doorbell)) = uint32(cpu)
		} else {
			vmnucleus(callIPI, cpu, 0, 0, 0)
		}
	}
}

//go:nosplit
func vmSharedPage() *vmShared { return (*vmShared)(unsafe.Pointer(uintptr(userShared))) }

//go:nosplit
func (t *vmThread) this() *vmCPU { return &vm.cpus[t.cpu&(maxCPUs-1)] }

// vmNewThread gives a thread in no state, or nil.
//
//go:nosplit
func vmNewThread() *vmThread {
	t := vm.free
	if t != nil {
		vm.free = t.next
		tid := t.tid
		memclrNoHeapPointers(unsafe.Pointer(t), unsafe.Sizeof(*t))
		t.tid = tid
	} else {
		if vm.threads == vmMaxThreads {
			return nil
		}
		t = (*vmThread)(unsafe.Pointer(vmThreads + vm.threads*vmThreadSize))
		vm.threads++
		t.tid = int32(vm.threads)
	}
	t.reset()
	return t
}

// vmThreadOf is the living thread with id tid, or nil.
//
//go:nosplit
func vmThreadOf(tid int32) *vmThread {
	if tid < 1 || uintptr(tid) > vm.threads {
		return nil
	}
	t := (*vmThread)(unsafe.Pointer(vmThreads + uintptr(tid-1)*vmThreadSize))
	if t.state == vmDead {
		return nil
	}
	return t
}

// vmReady makes t runnable and wakes a CPU for it.
//
//go:nosplit
func vmReady(t *vmThread, result uintptr) {
	vmUnsleep(t)
	t.setResult(result)
	vmQueue(t)
	if vm.idle == 0 {
		return
	}
	cpu := uintptr(t.cpu)
	if vm.idle>>cpu&1 == 0 {
		cpu = lowestBit(uintptr(vm.idle))
	}
	vm.idle &^= 1 << cpu
	if cpu != uintptr(vmblock().number) {
		vm.called |= 1 << cpu
	}
}

// vmNext gives the thread that this CPU is to run, and waits for one.
//
//go:nosplit
func vmNext() *vmThread {
	b := vmblock()
	number := uintptr(b.number)
	c := &vm.cpus[number&(maxCPUs-1)]
	for {
		t := vm.head
		if t != nil {
			vm.head = t.next
			if vm.head == nil {
				vm.tail = nil
			}
			vm.idle &^= 1 << number
			now := vmNow()
			t.state = vmRunning
			t.cpu = uint32(number)
			t.since = now
			c.slice = now + vmSlice
			return t
		}
		vm.idle |= 1 << number
		until := c.earliest()
		vmUnlock()
		tsc, ticks := uintptr(0), uintptr(0)
		if until != 0 {
			tsc, ticks = vmTimer(until)
			c.armed = until
		}
		vmnucleus(callWait, tsc, ticks, 0, 0)
		vmLock()
		vm.idle &^= 1 << number
		vmTake(b)
	}
}

// vmSwitch gives the CPU away, t being in its new state, to whom it returns.
//
//go:nosplit
func vmSwitch(t *vmThread) *vmThread {
	t.used += vmNow() - t.since
	return vmNext()
}

// vmYield gives the CPU away and has t wait for its turn.
//
//go:nosplit
func vmYield(t *vmThread) *vmThread {
	vmQueue(t)
	return vmSwitch(t)
}

// vmTake takes the interrupts that came: devices, and deadlines that are over.
//
//go:nosplit
func vmTake(b *cpuBlock) {
	b.pending = 0
	vmInterrupts()
	if b.timer == 0 {
		return
	}
	b.timer = 0
	c := &vm.cpus[b.number&(maxCPUs-1)]
	c.armed = 0
	now := vmNow()
	for t := c.sleepers; t != nil; {
		next := t.sleepNext
		if t.deadline <= now {
			vmTimeout(t)
		}
		t = next
	}
}

// vmTimeout ends the wait of t because its time is over.
//
//go:nosplit
func vmTimeout(t *vmThread) {
	switch t.state {
	case vmFutexWait:
		vmFutexRemove(t)
		vmReady(t, vmErr(_ETIMEDOUT))
	case vmPollWait:
		vm.poller = nil
		vmReady(t, 0)
	case vmSleep:
		vmReady(t, 0)
	}
}

const (
	_ENOENTvm  = 2
	_ESRCH     = 3
	_EBADF     = 9
	_ENOSYSvm  = 38
	_ETIMEDOUT = 110
)

//go:nosplit
func vmErr(errno uintptr) uintptr { return -errno }

// vmSleepUntil has this CPU end t's wait at deadline.
//
//go:nosplit
func vmSleepUntil(t *vmThread, deadline int64) {
	c := &vm.cpus[t.cpu&(maxCPUs-1)]
	t.deadline, t.sleeping = deadline, true
	t.sleepPrev, t.sleepNext = nil, c.sleepers
	if c.sleepers != nil {
		c.sleepers.sleepPrev = t
	}
	c.sleepers = t
}

//go:nosplit
func vmUnsleep(t *vmThread) {
	if !t.sleeping {
		return
	}
	t.sleeping = false
	if t.sleepNext != nil {
		t.sleepNext.sleepPrev = t.sleepPrev
	}
	if t.sleepPrev != nil {
		t.sleepPrev.sleepNext = t.sleepNext
	} else {
		vm.cpus[t.cpu&(maxCPUs-1)].sleepers = t.sleepNext
	}
}

// earliest is the first deadline of the CPU's sleepers, or 0.
//
//go:nosplit
func (c *vmCPU) earliest() int64 {
	first := int64(0)
	for t := c.sleepers; t != nil; t = t.sleepNext {
		if first == 0 || t.deadline < first {
			first = t.deadline
		}
	}
	return first
}

// vmLeave prepares this CPU to run t: its thread pointer, its signals, the timer.
//
//go:nosplit
func vmLeave(t *vmThread) *vmThread {
	b := vmblock()
	c := &vm.cpus[b.number&(maxCPUs-1)]
	for t.signalled() && !vmDeliver(t) {
	}
	until := c.earliest()
	if vm.head != nil && (until == 0 || c.slice < until) {
		until = c.slice
	}
	arm := until != 0 && (c.armed == 0 || until < c.armed)
	if arm {
		c.armed = until
	}
	if c.tls != t.tls {
		c.tls = t.tls
		vmSetTLS(t.tls)
	}
	vmUnlock()
	if arm { // not under the lock: a call of the nucleus may take its time
		tsc, ticks := vmTimer(until)
		vmnucleus(callArm, tsc, ticks, 0, 0)
	}
	return t
}

// vmUpcall handles what interrupted t, or was waiting while it was about to be
// restored, and gives the thread to run.
//
//go:nosplit
func vmUpcall(t *vmThread) *vmThread {
	vmLock()
	b := vmblock()
	vmTake(b)
	if b.vector < vectorDevice {
		vmException(t, b.vector, b.code, b.address)
	}
	if vm.head != nil && vmNow() >= t.this().slice {
		t = vmYield(t)
	}
	return vmLeave(t)
}

// vmQueue puts t at the end of the run queue, with its context as it is.
//
//go:nosplit
func vmQueue(t *vmThread) {
	t.state = vmRunnable
	t.next = nil
	if vm.tail != nil {
		vm.tail.next = t
	} else {
		vm.head = t
	}
	vm.tail = t
}

// vmStartOther is where CPUs but the first begin.
//
//go:nosplit
func vmStartOther() *vmThread {
	vmLock()
	vmStartNext(uintptr(vmblock().number) + 1)
	return vmLeave(vmNext())
}
