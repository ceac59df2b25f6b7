//go:build pith

package runtime

import (
	"internal/runtime/sys"
	"unsafe"
)

// The thread layer makes the threads of the Go runtime in a virtual machine. It runs at
// CPL 3, in the address space of the program. A CPU enters it by a system call of its
// thread (vmCall), or by an upcall of the nucleus after an interrupt or a fault
// (vmUpcall). It leaves with the thread to run next. In between the CPU is masked: it
// gets no upcalls. vm.lock guards all state.

// vmThread is a thread. It has vmThreadSize bytes of its own in the area of threads.
type vmThread struct {
	_ sys.NotInHeap

	vmRegisters

	state uint32
	tid   int32
	cpu   uint32 // the CPU that it last ran on, which also has its deadline

	next                 *vmThread // in the run queue, a futex queue or the free list
	addr                 uintptr   // address of the futex that it waits for
	events               uintptr   // where epoll_pwait writes events
	maxevents            uintptr
	deadline             int64 // end of the wait by vmNow; 0: none
	sleepNext, sleepPrev *vmThread
	sleeping             bool

	since, used int64 // CPU time: when it began to run, and what it used before

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
	vmSlice      = 2e6 // nanoseconds that a thread may run while others wait
	vmStackArea  = 0x7fffb0000000
	vmMmapTop    = 0x7f8000000000
)

var vm struct {
	lock  uint32
	ncpus uintptr
	cpus  [maxCPUs]vmCPU

	head, tail *vmThread // run queue
	idle       uint64    // bitmap of the CPUs that wait
	called     uint64    // bitmap of the CPUs that vmUnlock must interrupt
	threads    uintptr   // number of vmThreads made so far
	free       *vmThread
	usedByDead int64

	futexes [64]*vmThread
	poller  *vmThread
	wake    uint64 // the poller's eventfd
	sources [vectors]vmSource
	mmap    uintptr
	unused  vmUnused

	sigactions [128]vmSigaction

	doorbell uintptr // address where writing a CPU's number interrupts it; 0: there is none
}

type vmCPU struct {
	sleepers *vmThread
	armed    int64   // what its timer is set to, by vmNow; 0: nothing
	tls      uintptr // its thread pointer
	slice    int64   // when its thread must let others run, by vmNow
}

// pithvm is 1 if the instance is a virtual machine. The gate reads it.
var pithvm uint8

//go:nosplit
func vmLock() {
	for vmxchg(&vm.lock, 1) != 0 {
		vmpause()
	}
}

// vmUnlock releases the lock. Then it interrupts the CPUs in vm.called, which have work
// or a signal. It does so last because that would hold the lock for long.
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

// vmNewThread returns a new thread, or nil if there are too many.
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

// vmThreadOf returns the living thread with the id tid, or nil.
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

// vmReady makes t runnable, with the result of its system call, and wakes a CPU for it.
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

// vmNext returns the next thread for this CPU. It waits until there is one.
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

// vmSwitch takes the CPU from t, which is in its new state, and returns the next thread.
//
//go:nosplit
func vmSwitch(t *vmThread) *vmThread {
	t.used += vmNow() - t.since
	return vmNext()
}

// vmYield puts t at the end of the run queue and returns the next thread.
//
//go:nosplit
func vmYield(t *vmThread) *vmThread {
	vmQueue(t)
	return vmSwitch(t)
}

// vmTake handles the interrupts that have come, and deadlines that have passed.
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

// vmTimeout ends the wait of t at its deadline.
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

// vmSleepUntil makes this CPU end t's wait at the deadline.
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

// earliest returns the first deadline of the CPU's sleepers, or 0.
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

// vmLeave prepares this CPU to run t: signals, timer and thread pointer.
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
	if arm { // not under the lock: a nucleus call may take long
		tsc, ticks := vmTimer(until)
		vmnucleus(callArm, tsc, ticks, 0, 0)
	}
	return t
}

// vmUpcall handles what interrupted t, or what was pending when t was about to be
// restored. It returns the thread to run.
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

// vmQueue puts t at the end of the run queue.
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

// vmStartOther runs first at CPL 3 on every CPU but the first.
//
//go:nosplit
func vmStartOther() *vmThread {
	vmLock()
	vmStartNext(uintptr(vmblock().number) + 1)
	return vmLeave(vmNext())
}
