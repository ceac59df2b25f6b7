package kvm

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const getStatsFD = 0xaece

// Stats reads the counters that KVM keeps for a vCPU.
type Stats struct{ file *os.File }

// Stats opens the vCPU's counters, which exist since Linux 5.14.
func (c *VCPU) Stats() (*Stats, error) {
	fd, err := ioctl("KVM_GET_STATS_FD", c.fd, getStatsFD, 0)
	if err != nil {
		return nil, err
	}
	unix.CloseOnExec(fd)
	return &Stats{os.NewFile(uintptr(fd), "statistics")}, nil
}

// Read returns the counters that are not 0, by name.
func (s *Stats) Read() (string, error) {
	file, err := io.ReadAll(s.file)
	if err != nil {
		return "", err
	}
	return readStats(file)
}

// readStats reads struct kvm_stats_header, struct kvm_stats_desc and values.
func readStats(file []byte) (string, error) {
	const headerSize, descSize, valueSize = 24, 16, 8
	n := uint64(len(file))
	if n < headerSize {
		return "", io.ErrUnexpectedEOF
	}
	le := binary.LittleEndian
	text, count := uint64(le.Uint32(file[4:])), uint64(le.Uint32(file[8:]))
	descs, data := uint64(le.Uint32(file[16:])), uint64(le.Uint32(file[20:]))
	if text > n || count > n || descs+count*(descSize+text) > n {
		return "", io.ErrUnexpectedEOF
	}
	var b strings.Builder
	for table := file[descs:]; count > 0; count-- {
		at := data + uint64(le.Uint32(table[8:]))
		single := le.Uint16(table[6:]) == 1 // not a histogram
		name, _, _ := strings.Cut(string(table[descSize:descSize+text]), "\x00")
		table = table[descSize+text:]
		if at+valueSize > n || !single {
			continue
		}
		if v := le.Uint64(file[at:]); v != 0 {
			fmt.Fprintf(&b, " %s %d", name, v)
		}
	}
	return strings.TrimSpace(b.String()), nil
}
