package memfs

import "math/bits"

// A file's data are chunks of chunkSize bytes, in tables of tableLen chunks,
// which keeps the index of a sparse file small. A chunk grows by doubling, so a
// small file needs little memory. Missing chunks read as zero.
const (
	chunkSize     = 64 << 10
	pagesPerChunk = chunkSize / pageSize
	tableLen      = 512
	minChunk      = 512
)

type chunk struct {
	data    []byte // beginning of the chunk; the rest reads as zero
	present uint16 // bit mask of the pages that are charged
	written uint16 // bit mask of the pages that were written and so are not holes
}

type table [tableLen]chunk

// chunks is sparse data. Methods return how many pages came or went.
type chunks struct{ tables []*table }

// at returns the chunk with index n, or nil when its table does not exist.
func (c *chunks) at(n int64) *chunk {
	if t := n / tableLen; t < int64(len(c.tables)) && c.tables[t] != nil {
		return &c.tables[t][n%tableLen]
	}
	return nil
}

// need returns the chunk with index n, and makes its table when missing.
func (c *chunks) need(n int64) *chunk {
	t := n / tableLen
	if t >= int64(len(c.tables)) {
		c.tables = append(c.tables, make([]*table, t+1-int64(len(c.tables)))...)
	}
	if c.tables[t] == nil {
		c.tables[t] = new(table)
	}
	return &c.tables[t][n%tableLen]
}

// span is the bytes [from, to) of chunk n.
type span struct {
	n        int64
	from, to int
}

// next returns the part of the n bytes from off that lies in the first chunk.
func next(off, n int64) span {
	from := off % chunkSize
	return span{off / chunkSize, int(from), int(min(chunkSize, from+n))}
}

// mask returns the bit mask of the pages that bytes [from, to) touch.
func mask(from, to int) uint16 {
	lo, hi := from/pageSize, (to+pageSize-1)/pageSize
	return uint16(1<<hi - 1<<lo)
}

// read fills p with the bytes from off.
func (c *chunks) read(p []byte, off int64) {
	for len(p) > 0 {
		s := next(off, int64(len(p)))
		part := p[:s.to-s.from]
		n := 0
		if k := c.at(s.n); k != nil && s.from < len(k.data) {
			n = copy(part, k.data[s.from:])
		}
		clear(part[n:])
		p, off = p[len(part):], off+int64(len(part))
	}
}

// missing counts the pages that are not present among the n bytes from off.
func (c *chunks) missing(off, n int64) (pages int64) {
	for n > 0 {
		s := next(off, n)
		m := mask(s.from, s.to)
		if k := c.at(s.n); k != nil {
			m &^= k.present
		}
		pages += int64(bits.OnesCount16(m))
		step := int64(s.to - s.from)
		off, n = off+step, n-step
	}
	return pages
}

// write stores p at off.
func (c *chunks) write(p []byte, off int64) {
	for len(p) > 0 {
		s := next(off, int64(len(p)))
		k := c.need(s.n)
		k.extend(s.to)
		n := copy(k.data[s.from:s.to], p)
		k.present |= mask(s.from, s.to)
		k.written |= mask(s.from, s.to)
		p, off = p[n:], off+int64(n)
	}
}

// allocate marks the pages of the n bytes from off as present, for
// fallocate(2).
func (c *chunks) allocate(off, n int64) {
	for n > 0 {
		s := next(off, n)
		c.need(s.n).present |= mask(s.from, s.to)
		step := int64(s.to - s.from)
		off, n = off+step, n-step
	}
}

// extend makes the chunk's data at least n bytes long.
func (k *chunk) extend(n int) {
	if n <= len(k.data) {
		return
	}
	if n > cap(k.data) {
		size := minChunk
		for size < n {
			size *= 2
		}
		grown := make([]byte, len(k.data), size)
		copy(grown, k.data)
		k.data = grown
	}
	old := len(k.data)
	k.data = k.data[:n]
	clear(k.data[old:])
}

// zero sets the n bytes from off to zero. Pages that lie wholly in them become
// holes; zero returns their number.
func (c *chunks) zero(off, n int64) (pages int64) {
	for n > 0 {
		s := next(off, n)
		if s.n/tableLen >= int64(len(c.tables)) {
			break
		}
		if k := c.at(s.n); k != nil {
			pages += k.zero(s.from, s.to)
		}
		step := int64(s.to - s.from)
		off, n = off+step, n-step
	}
	return pages
}

func (k *chunk) zero(from, to int) (pages int64) {
	if from < len(k.data) {
		clear(k.data[from:min(to, len(k.data))])
	}
	var whole uint16
	if lo, hi := (from+pageSize-1)/pageSize, to/pageSize; lo < hi {
		whole = uint16(1<<hi-1<<lo) & k.present
	}
	k.present &^= whole
	k.written &^= whole
	if k.present == 0 {
		k.data = nil
	}
	return int64(bits.OnesCount16(whole))
}

// cut drops all data from size on and returns how many pages that frees.
func (c *chunks) cut(size int64) (pages int64) {
	pages = c.zero(size, maxSize-size)
	if n := (size + chunkSize*tableLen - 1) / (chunkSize * tableLen); n < int64(len(c.tables)) {
		clear(c.tables[n:])
		c.tables = c.tables[:n]
	}
	return pages
}

// seek returns the first offset from off on that is data (or a hole, if data is
// false). It returns -1 if it finds no such offset before size.
func (c *chunks) seek(off, size int64, data bool) int64 {
	for off < size {
		n := off / chunkSize
		if n/tableLen >= int64(len(c.tables)) {
			break
		}
		if data && c.tables[n/tableLen] == nil {
			off = (n/tableLen + 1) * tableLen * chunkSize
			continue
		}
		var pages uint16
		if k := c.at(n); k != nil {
			pages = k.written
		}
		if !data {
			pages = ^pages
		}
		page := off % chunkSize / pageSize
		if rest := pages >> page; rest != 0 {
			at := n*chunkSize + (page+int64(bits.TrailingZeros16(rest)))*pageSize
			return max(at, off)
		}
		off = (n + 1) * chunkSize
	}
	if !data && off < size {
		return off
	}
	return -1
}
