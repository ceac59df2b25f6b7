package net

import "github.com/pith-os/pith/libos/boot"

// A device's buffers are the machine's for good, so they are few where there is
// little memory: a machine of 24 MB has 768 KiB of them.
const (
	minBudget = 512 << 10
	maxBudget = 32 << 20
	share     = 32 // of the memory, one part in

	minPair  = 1 << 20 // less than this for each, and there are fewer pairs
	maxPair  = 5 << 20
	maxPairs = 8

	minArena = 128 << 10 // holds the largest frame, wherever it begins
)

// budget is how the memory for buffers is used.
type budget struct {
	pairs   int
	receive int // bytes of receive buffers, each pair
	send    int // bytes of frames being sent, each pair
}

// budgetFor shares out the memory of a machine with mem bytes for at most
// wanted pairs of queues.
func budgetFor(mem uint64, wanted int) budget {
	all := int(min(max(mem/share, minBudget), maxBudget))
	b := budget{pairs: max(1, min(wanted, all/minPair, maxPairs))}
	each := min(all/b.pairs, maxPair)
	b.send = max(each/5, minArena)
	b.receive = each - b.send
	return b
}

// largest is the size of the largest message: header and frame.
const largest = boot.MaxFrame
