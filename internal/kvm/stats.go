package kvm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const getStatsFD = 0xaece

// Stats are counters that KVM keeps of a CPU.
type Stats struct {
	file  *os.File
	names []string
	at    []int64 // in the file
}

// Stats opens the CPU's counters. Linux has them since 5.14.
func (c *VCPU) Stats() (*Stats, error) {
	fd, err := ioctl("KVM_GET_STATS_FD", c.fd, getStatsFD, 0)
	if err != nil {
		return nil, err
	}
	unix.CloseOnExec(fd)
	s := &Stats{file: os.NewFile(uintptr(fd), "statistics")}
	if err := s.describe(); err != nil {
		return nil, errors.Join(fmt.Errorf("KVM's statistics: %w", err), s.file.Close())
	}
	return s, nil
}

// describe reads struct kvm_stats_header and each struct kvm_stats_desc.
func (s *Stats) describe() error {
	const headerSize, descSize, mostText, most = 24, 16, 256, 1024
	h := make([]byte, headerSize)
	if _, err := s.file.ReadAt(h, 0); err != nil {
		return err
	}
	le := binary.LittleEndian
	text, n := int64(le.Uint32(h[4:])), int64(le.Uint32(h[8:]))
	descs, data := int64(le.Uint32(h[16:])), int64(le.Uint32(h[20:]))
	if text > mostText || n > most {
		return fmt.Errorf("%d descriptions with names of %d bytes", n, text)
	}
	table := make([]byte, n*(descSize+text))
	if _, err := s.file.ReadAt(table, descs); err != nil {
		return err
	}
	for ; len(table) > 0; table = table[descSize+text:] {
		if le.Uint16(table[6:]) != 1 {
			continue // a histogram
		}
		name, _, _ := strings.Cut(string(table[descSize:descSize+text]), "\x00")
		s.names = append(s.names, name)
		s.at = append(s.at, data+int64(le.Uint32(table[8:])))
	}
	return nil
}

// String shows the counters that are not 0.
func (s *Stats) String() string {
	var b strings.Builder
	var v [8]byte
	for i, name := range s.names {
		if _, err := s.file.ReadAt(v[:], s.at[i]); err != nil && !errors.Is(err, io.EOF) {
			return err.Error()
		}
		if n := binary.LittleEndian.Uint64(v[:]); n != 0 {
			fmt.Fprintf(&b, " %s %d", name, n)
		}
	}
	return strings.TrimSpace(b.String())
}
