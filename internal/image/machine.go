package image

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/pith-os/pith/libos/boot"
)

// What the nucleus learns about the image.
const (
	imageMagic = "\x9bpith nucleusimg" // begins runtime.nucleusimage until it is filled in

	maxImage = 1 << 30 // address that the nucleus's view of the image ends at
)

// ownParameters are the boot parameters that the image brings: what its program
// gets when the monitor gives no arguments, and its environment.
func ownParameters(name string, m *Manifest) []byte {
	c := boot.Config{Args: append([]string{name}, m.Args...), Env: m.Env}
	return []byte(c.String())
}

// setMachine tells the nucleus where the image's boot parameters are in memory
// and where the image ends, and gives the physical address of the entry.
// Only a program that was linked with a derived Go distribution has a nucleus.
func (p *program) setMachine(parameters, size, end uint64) (entry uint64, err error) {
	i := slices.IndexFunc(p.progs, func(s elf.Prog64) bool { return elf.ProgType(s.Type) == elf.PT_LOAD && s.Off == 0 })
	if i < 0 {
		return 0, errors.New("the linker's segments do not hold the ELF header")
	}
	head := p.progs[i].Vaddr
	if end > maxImage {
		return 0, fmt.Errorf("the image would end at %#x in memory, beyond %#x", end, uint64(maxImage))
	}
	values := []uint64{head, parameters, size, end}
	b, err := p.slot(imageMagic)
	if err != nil {
		return 0, err
	}
	if len(b) < 8*len(values) {
		return 0, errOtherVersion
	}
	for i, v := range values {
		binary.LittleEndian.PutUint64(b[8*i:], v)
	}

	return p.setEntry(end)
}
