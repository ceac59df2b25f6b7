package net

import "github.com/pith-os/pith/libos/boot"

// A device keeps its buffers forever, so they must be few if there is little
// memory: a VM with 24 MB has 768 KiB of them.
const (
	minBudget = 512 << 10
	maxBudget = 32 << 20
	share     = 32 // one part in 32 of the memory

	minPair  = 1 << 20 // smallest memory per pair; with less, there are fewer pairs
	maxPair  = 5 << 20
	maxPairs = 8

	minArena = 128 << 10 // holds the largest frame, wherever it begins
)

// budget is how the memory for buffers is used.
type budget struct {
	pairs   int
	receive int // bytes of receive buffers per pair
	send    int // bytes for frames being sent, per pair
}

// budgetFor divides the buffer memory of a VM with mem bytes among at most
// wanted pairs of queues.
func budgetFor(mem uint64, wanted int) budget {
	all := int(min(max(mem/share, minBudget), maxBudget))
	b := budget{pairs: max(1, min(wanted, all/minPair, maxPairs))}
	each := min(all/b.pairs, maxPair)
	b.send = max(each/5, minArena)
	b.receive = each - b.send
	return b
}

// largest is the size of the largest message in bytes: header and frame.
const largest = boot.MaxFrame
