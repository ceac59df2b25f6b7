package ninep

import (
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/vfs/ninep/wire"
)

// These methods append a field to a request.

func (x *exchange) u16(v uint16) { x.out = wire.PutU16(x.out, v) }
func (x *exchange) u32(v uint32) { x.out = wire.PutU32(x.out, v) }
func (x *exchange) u64(v uint64) { x.out = wire.PutU64(x.out, v) }

// str appends a string. Names and targets from the program are shorter than
// wire.PathMax.
func (x *exchange) str(s string) { x.out = wire.PutStr(x.out, s) }

func (x *exchange) time(t linux.Timespec) {
	x.u64(uint64(t.Sec))
	x.u64(uint64(t.Nsec))
}
