package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
	"unsafe"
)

// attempt runs f and shows what it panicked with.
func attempt(what string, f func()) {
	defer func() {
		r := recover()
		_, isRuntime := r.(runtime.Error)
		show(what, r, isRuntime)
	}()
	f()
}

// recovers: every panic of the runtime that a program can recover from.
func recovers() {
	var (
		pointer *struct{ a, b int }
		large   *[1 << 20]byte
		table   map[string]int
		list    = []int{1, 2, 3}
		boxed   any
		zero    = len(os.Getenv("NO_SUCH_VARIABLE"))
		method  fmt.Stringer
		call    func()
		closed  = make(chan int)
	)
	close(closed)
	attempt("nil read", func() { fmt.Println(pointer.b) })
	attempt("nil write", func() { pointer.a = 1 })
	attempt("nil, far from zero", func() { large[1<<19] = 1 })
	attempt("nil map", func() { table["a"] = 1 })
	attempt("nil method", func() { fmt.Println(method.String()) })
	attempt("nil function", func() { call() })
	attempt("division", func() { fmt.Println(1 / zero) })
	attempt("remainder", func() { fmt.Println(uint(1) % uint(zero)) })
	attempt("index", func() { fmt.Println(list[zero+3]) })
	attempt("slice", func() { fmt.Println(list[zero+2 : 1]) })
	attempt("conversion", func() { fmt.Println([4]int(list)) })
	attempt("assertion", func() { fmt.Println(boxed.(int)) })
	attempt("negative make", func() { _ = make([]int, zero-1) })
	attempt("closed channel", func() { closed <- 1 })
	attempt("closed twice", func() { close(closed) })
	attempt("error value", func() { panic(errors.New("an error")) })
	attempt("nil panic", func() { panic(nil) })
	attempt("no panic", func() {})

	// Again and again, on many goroutines: a fault must leave no trace.
	done := make(chan int)
	for range 8 {
		go func() {
			n := 0
			for range 500 {
				func() {
					defer func() {
						if recover() != nil {
							n++
						}
					}()
					pointer.b++
				}()
			}
			done <- n
		}()
	}
	total := 0
	for range 8 {
		total += <-done
	}
	show("recovered", total)
}

// faults: unexpected addresses are panics where the program asked for it.
func faults() {
	debug.SetPanicOnFault(true)
	const size = 64 << 10
	area := must(syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE))
	area[0], area[size-1] = 1, 2
	show("mapped", area[0], area[size-1])

	check(syscall.Mprotect(area, syscall.PROT_READ))
	caught("write to read-only memory", func() { area[0] = 3 })
	check(syscall.Mprotect(area, syscall.PROT_NONE))
	caught("read of inaccessible memory", func() { fmt.Println(area[0]) })
	check(syscall.Mprotect(area, syscall.PROT_READ|syscall.PROT_WRITE))
	show("again", area[0], area[size-1])

	first := &area[0]
	check(syscall.Munmap(area))
	caught("read of unmapped memory", func() { fmt.Println(*first) })
	caught("write to a constant", func() { *unsafe.StringData("constant") = 'C' })
}

// caught shows whether f faulted; the addresses are the machine's own affair.
func caught(what string, f func()) {
	defer func() {
		r := recover()
		addr, ok := r.(interface{ Addr() uintptr })
		show(what, r != nil, ok && addr.Addr() != 0)
	}()
	f()
}

// outOfBounds is an address that belongs to nothing, far from the zero page.
func outOfBounds() *int {
	area := must(syscall.Mmap(-1, 0, 1<<16, syscall.PROT_READ, syscall.MAP_ANON|syscall.MAP_PRIVATE))
	p := (*int)(unsafe.Pointer(&area[0]))
	check(syscall.Munmap(area))
	return p
}
