package image

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/pith-os/pith/libos/boot"
)

// Values for the nucleus's information about the image.
const (
	imageMagic = "\x9bpith nucleusimg" // beginning of runtime.nucleusimage before setMachine

	maxImage = 1 << 30 // end of the memory that the nucleus maps for the image
)

// ownParameters returns the image's own boot parameters: its environment and the program's
// default arguments.
func ownParameters(name string, m *Manifest) []byte {
	c := boot.Config{Args: append([]string{name}, m.Args...), Env: m.Env}
	return []byte(c.String())
}

// setMachine writes the nucleus's information about the image: the address and size of the
// image's own boot parameters, and the address behind the image. It returns the guest-physical
// address of the entry. Only programs of a derived Go distribution have a nucleus.
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
