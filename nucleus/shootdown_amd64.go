//go:build pith

package runtime

import "unsafe"

// TLB shootdown.

// flushOthers makes every other CPU flush its TLB, and waits for them. It does not wait
// for idle CPUs: they flush before they use an address of CPL 3.
//
//go:nosplit
func (n *nucleus) flushOthers(c *cpuState) {
	for i := range n.ncpus {
		o := n.cpu(i)
		if o == c || nucleusload32(&o.running) == 0 {
			continue
		}
		nucleusxchg(uintptr(unsafe.Pointer(&o.stale)), 1)
		if nucleusload32(&o.idle) == 0 {
			n.apicSend(o.id, vectorFlush)
		}
	}
	for i := range n.ncpus {
		o := n.cpu(i)
		for o != c && nucleusload32(&o.running) != 0 && nucleusload32(&o.idle) == 0 && nucleusload32(&o.stale) != 0 {
			nucleusrelax()
		}
	}
}

// flushIfStale flushes this CPU's TLB if another CPU asks for that.
//
//go:nosplit
func (n *nucleus) flushIfStale(c *cpuState) {
	if nucleusload32(&c.stale) != 0 {
		nucleusxchg(uintptr(unsafe.Pointer(&c.stale)), 0)
		nucleusflushall()
	}
}
