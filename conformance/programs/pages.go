package main

import (
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"unsafe"
)

// pages changes mappings at random, in several goroutines at once, and finds in
// every page what a model of it says: its content, or a fault.
func pages() {
	const workers, rounds = 4, 500
	var sums [workers]uint64
	var faults [workers]int
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() { sums[w], faults[w] = pageModel(uint64(w), rounds) })
	}
	wg.Wait()
	for w := range workers {
		show("worker", w, sums[w], faults[w])
	}
}

const (
	pageCount = 1200 // more than two tables of 512 entries
	pageSize  = 4096
)

// modelPage is what a page should be.
type modelPage struct {
	read, write bool
	value       byte // at every place that is looked at
}

func pageModel(seed uint64, rounds int) (sum uint64, faults int) {
	debug.SetPanicOnFault(true)
	r := rand.New(rand.NewPCG(seed, 7))
	const anonymous, fixed = syscall.MAP_ANON | syscall.MAP_PRIVATE, syscall.MAP_FIXED
	base, _, e := syscall.Syscall6(syscall.SYS_MMAP, 0, pageCount*pageSize, syscall.PROT_NONE, anonymous, ^uintptr(0), 0)
	if e != 0 {
		panic(e)
	}
	model := make([]modelPage, pageCount)
	at := func(page int) uintptr { return base + uintptr(page)*pageSize }
	call := func(num uintptr, from, n int, arg uintptr) syscall.Errno {
		_, _, e := syscall.Syscall(num, at(from), uintptr(n)*pageSize, arg)
		return e
	}
	for round := range rounds {
		n := 1 << r.IntN(9)
		from := r.IntN(pageCount - n + 1)
		span := model[from : from+n]
		prot := uintptr(r.IntN(4)) // PROT_NONE, READ, WRITE, both
		read, write := prot != 0, prot&syscall.PROT_WRITE != 0
		switch r.IntN(8) {
		case 0:
			_, _, e := syscall.Syscall6(syscall.SYS_MMAP, at(from), uintptr(n)*pageSize, prot, anonymous|fixed, ^uintptr(0), 0)
			if e != 0 {
				panic(e)
			}
			for i := range span {
				span[i] = modelPage{read, write, 0}
			}
		case 1:
			// Like munmap, but nobody else can take the addresses.
			_, _, e := syscall.Syscall6(syscall.SYS_MMAP, at(from), uintptr(n)*pageSize, syscall.PROT_NONE, anonymous|fixed, ^uintptr(0), 0)
			if e != 0 {
				panic(e)
			}
			for i := range span {
				span[i] = modelPage{}
			}
		case 2, 3:
			if e := call(syscall.SYS_MPROTECT, from, n, prot); e != 0 {
				panic(e)
			}
			for i := range span {
				span[i].read, span[i].write = read, write
			}
		case 4:
			if e := call(syscall.SYS_MADVISE, from, n, syscall.MADV_DONTNEED); e != 0 {
				panic(e)
			}
			for i := range span {
				span[i].value = 0
			}
		default:
			for range 20 {
				page := from + r.IntN(n)
				m := &model[page]
				p := (*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&[]uintptr{at(page) + uintptr(r.IntN(pageSize)/64*64)}[0])))
				if r.IntN(2) == 0 {
					if faulted(func() { *p = m.value }) == m.write {
						show("write", round, page, m.write)
					}
					if !m.write {
						faults++
					}
					continue
				}
				if !m.read {
					if !faulted(func() { sum += uint64(*p) }) {
						show("no fault", round, page)
					}
					faults++
					continue
				}
				if *p != m.value {
					show("content", round, page, *p, m.value)
				}
				if m.write {
					m.value = byte(r.IntN(256))
					for i := uintptr(0); i < pageSize; i += 64 {
						*(*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&[]uintptr{at(page) + i}[0]))) = m.value
					}
				}
				sum = sum*31 + uint64(m.value)
			}
		}
		if round%512 == 0 {
			runtime.GC()
		}
	}
	if _, _, e := syscall.Syscall(syscall.SYS_MUNMAP, base, pageCount*pageSize, 0); e != 0 {
		panic(e)
	}
	return sum, faults
}

func faulted(f func()) (yes bool) {
	defer func() { yes = recover() != nil }()
	f()
	return false
}
