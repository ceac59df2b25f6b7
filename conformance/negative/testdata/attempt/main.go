// Command attempt tries one thing that an image must not be able to do. It
// makes system calls by an instruction of its own, past the library OS.
package main

import (
	"fmt"
	"os"
	"reflect"
	"runtime/debug"
	"strconv"
	"unsafe"
)

// enter makes a system call as the Linux ABI has it.
func enter(number, a1, a2, a3, a4, a5, a6 uintptr) uintptr

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: attempt syscall NUMBER [ARGUMENT]... | poke-text | call-heap | read-zero | recurse")
		os.Exit(1)
	}
	switch os.Args[1] {
	case "syscall":
		var n [7]uintptr
		for i, arg := range os.Args[2:] {
			v, err := strconv.ParseUint(arg, 0, 64)
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			n[i] = uintptr(v)
		}
		fmt.Println("result", enter(n[0], n[1], n[2], n[3], n[4], n[5], n[6]))
	case "poke-text":
		text := reflect.ValueOf(main).Pointer()
		**(**byte)(unsafe.Pointer(&text)) = 0
	case "call-heap":
		code := &[]byte{0xc3}[0] // RET
		f := &code
		(*(*func())(unsafe.Pointer(&f)))()
	case "read-zero":
		defer func() { fmt.Println("recovered:", recover()) }()
		var p *int
		fmt.Println(*p)
	case "recurse":
		debug.SetMaxStack(1 << 20)
		fmt.Println(recurse(1))
	}
}

func recurse(n int) int { return recurse(n+1) + n }
