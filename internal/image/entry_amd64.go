package image

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
)

// elfMachine is the architecture of images.
const elfMachine = elf.EM_X86_64

// The note that has an image's entry for monitors (PVH).
const (
	pvhName  = "Xen"
	pvhEntry = 18 // XEN_ELFNOTE_PHYS32_ENTRY (Xen, xen/include/public/elfnote.h)

	entryFunction = "runtime.nucleusentry"
)

// setEntry completes the entry's code. end is the address behind the image. It returns the
// entry's guest-physical address.
func (p *program) setEntry(end uint64) (entry uint64, err error) {
	// The entry is 32-bit code. The assembler cannot write absolute addresses there. So
	// this code replaces LEAQ link(SB), DI with MOVL $link, DI and two NOPs. The next
	// MOVL loads the address behind the image.
	const movlDI, movlSI, nop, leaqSize = 0xbf, 0xbe, 0x90, 7
	f, ok, err := p.assembly(entryFunction)
	if err != nil {
		return 0, err
	}
	if !ok {
		return 0, fmt.Errorf("the program has no %s", entryFunction)
	}
	code := p.body(f)
	if len(code) < leaqSize+5 || code[0] != 0x48 || code[1] != 0x8d || code[2] != 0x3d || code[leaqSize] != movlSI {
		return 0, fmt.Errorf("%s is not as expected", entryFunction)
	}
	link := f.addr + leaqSize + uint64(int32(binary.LittleEndian.Uint32(code[3:])))
	if link > maxImage {
		return 0, fmt.Errorf("%s refers to %#x, beyond the image", entryFunction, link)
	}
	code[0] = movlDI
	binary.LittleEndian.PutUint32(code[1:], uint32(link))
	code[5], code[6] = nop, nop
	binary.LittleEndian.PutUint32(code[leaqSize+1:], uint32(end))
	return f.addr, nil
}

// noErrorTarget makes a system call that cannot fail. The functions redirected to it have the
// same arguments and results, on the stack (ABI0).
const noErrorTarget = "syscall.rawSyscallNoError"

// redirectNoError redirects the two functions of golang.org/x/sys/unix that have their own
// SYSCALL instruction. The package's other functions jump to package syscall. An edit before
// linking is not possible, because the package is a module of the user, at any version.
func (p *program) redirectNoError() error {
	for _, name := range []string{"SyscallNoError", "RawSyscallNoError"} {
		f, ok, err := p.assembly("golang.org/x/sys/unix." + name)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		target, ok, err := p.assembly(noErrorTarget)
		if err != nil {
			return err
		}
		if !ok {
			return errors.New("the derived Go distribution has no " + noErrorTarget)
		}
		code := p.body(f)
		const jmpRel32, int3, jmpLen = 0xE9, 0xCC, 5
		if len(code) < jmpLen {
			return fmt.Errorf("%s is too short to redirect", f.name)
		}
		for i := range code {
			code[i] = int3
		}
		code[0] = jmpRel32
		binary.LittleEndian.PutUint32(code[1:], uint32(target.addr-(f.addr+jmpLen)))
	}
	return nil
}
