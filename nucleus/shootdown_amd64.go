//go:build pith

package runtime

import "unsafe"

// TLB shootdown: a CPU that took pages away has the others flush their TLBs.

// flushOthers has every other CPU flush its TLB, and waits until they have.
// Those that are idle do it before they touch anything.
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

// obey flushes this CPU's TLB if another one asks for it.
//
//go:nosplit
func (n *nucleus) obey(c *cpuState) {
	if nucleusload32(&c.stale) != 0 {
		nucleusxchg(uintptr(unsafe.Pointer(&c.stale)), 0)
		nucleusflushall()
	}
}
