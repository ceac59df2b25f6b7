package trace

import (
	"strconv"
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
)

// stringMax is how many bytes of a string strace prints at most.
const stringMax = 32

// printer prints one call: its arguments in order, by their codes.
type printer struct {
	args *[6]uintptr
	out  []byte

	format string // codes not printed yet
	next   int    // index of the next argument
	before uint32 // a length that the call changes: its old value

	ret   uintptr
	errno linux.Errno
}

// begin prints the name, and the arguments up to the first one that the call fills in.
func (p *printer) begin(num uintptr, formats map[uintptr]string) {
	format, ok := formats[num]
	if !ok {
		format = unknown
	}
	p.out = make([]byte, 0, 128)
	p.text(callName(num))
	p.text("(")
	p.format = format
	i := 0
	for f := format; f != "" && f[0] != '='; i++ {
		var code byte
		code, _, f = cut(f)
		switch code {
		case 'n':
			if n := at[uint32](p.args[i]); n != nil {
				p.before = *n
			}
		case 'B':
			if h := at[linux.Msghdr](p.args[i]); h != nil {
				p.before = h.Namelen
			}
		}
	}
	p.run(false)
}

// end prints the other arguments and the result.
func (p *printer) end(ret uintptr, errno linux.Errno) {
	p.ret, p.errno = ret, errno
	p.run(true)
	p.close()
	if errno != 0 {
		p.text("-1 ")
		p.text(errnoText(errno))
		return
	}
	var code byte
	if len(p.format) > 1 {
		code = p.format[1]
	}
	switch code {
	case 'x':
		p.hex(uint64(ret))
	case 'o':
		p.octal(uint64(ret))
	case 'f':
		p.fcntlResult()
	default:
		p.int(int64(ret))
		if code == 'q' {
			p.pollResult()
		}
	}
}

// close ends the arguments and moves to the column of the results.
func (p *printer) close() {
	const column = 39
	p.text(")")
	for len(p.out) < column {
		p.text(" ")
	}
	p.text(" = ")
}

// run prints arguments: all that are left, or those up to the first one that the call
// fills in.
func (p *printer) run(all bool) {
	for p.format != "" && p.format[0] != '=' {
		code, set, rest := cut(p.format)
		if !all && (code >= 'A' && code <= 'Z' && code != 'D' && code != 'O' && code != 'M' && code != 'F' || code == 'n') {
			return
		}
		p.format = rest
		start := len(p.out)
		if p.next > 0 {
			p.text(", ")
		}
		if code == '{' {
			p.names(set, uint64(uint32(p.args[p.next])))
		} else if !p.arg(code, p.args[p.next]) {
			p.out = p.out[:start]
		}
		p.next++
	}
}

// cut splits the first code off a format; '{' comes with the name of the set.
func cut(format string) (code byte, set, rest string) {
	if format[0] != '{' {
		return format[0], "", format[1:]
	}
	end := 1
	for format[end] != '}' {
		end++
	}
	return '{', format[1:end], format[end+1:]
}

// arg prints one argument. It reports false if the call does not use the argument this
// time.
func (p *printer) arg(code byte, v uintptr) bool {
	switch code {
	case 'd', 'f':
		p.int(int64(int32(v)))
	case 'D':
		if int32(v) == linux.AT_FDCWD {
			p.text("AT_FDCWD")
		} else {
			p.int(int64(int32(v)))
		}
	case 'l':
		p.int(int64(v))
	case 'u':
		p.uint(uint64(v))
	case 'g':
		p.int(int64(int32(v)))
	case 'x':
		p.hex(uint64(v))
	case 'p':
		p.pointer(v)
	case 'o':
		p.octal(uint64(uint32(v)))
	case 'O':
		const creates = linux.O_CREAT | linux.O_TMPFILE&^linux.O_DIRECTORY
		if p.args[p.next-1]&creates == 0 {
			return false
		}
		p.octal(uint64(uint32(v)))
	case 'M':
		p.mode(uint32(v))
	case 's':
		p.path(v)
	case 'w':
		p.bytes(v, p.args[p.next+1], stringMax)
	case 'R', 'H', 'G':
		p.filled(code, v)
	case 'b':
		p.names(optionSet(p.args[p.next-1]), uint64(v))
	case 'r':
		p.protocol(v)
	case 'n':
		p.length(v)
	case 'C':
		return p.fcntlArg(v)
	default:
		p.structure(code, v)
	}
	return true
}

// text appends s. It is not inlined: it has many callers, and inlined it takes some
// hundred bytes of code.
//
//go:noinline
func (p *printer) text(s string) { p.out = append(p.out, s...) }

//go:noinline
func (p *printer) raw(b ...byte) { p.out = append(p.out, b...) }

func (p *printer) int(v int64) { p.out = strconv.AppendInt(p.out, v, 10) }

func (p *printer) uint(v uint64) { p.out = strconv.AppendUint(p.out, v, 10) }

func (p *printer) hex(v uint64) {
	if v != 0 {
		p.text("0x")
	}
	p.out = strconv.AppendUint(p.out, v, 16)
}

// num prints a number after a prefix.
func (p *printer) num(lead string, v int64) {
	p.text(lead)
	p.int(v)
}

func (p *printer) octal(v uint64) {
	if v != 0 {
		p.text("0")
	}
	p.out = strconv.AppendUint(p.out, v, 8)
}

func (p *printer) pointer(v uintptr) {
	if v == 0 {
		p.text("NULL")
		return
	}
	p.hex(uint64(v))
}

// mode prints a file's type and permissions.
func (p *printer) mode(m uint32) {
	if m&linux.S_IFMT != 0 {
		p.names("S_IF", uint64(m&linux.S_IFMT))
		p.text("|")
	}
	p.octal(uint64(m &^ linux.S_IFMT))
}

// path prints all of a zero-terminated string.
func (p *printer) path(v uintptr) {
	if v < platform.PageSize {
		p.pointer(v)
		return
	}
	n := uintptr(0)
	for n < maxPath && *(*byte)(platform.Pointer(v + n)) != 0 {
		n++
	}
	p.bytes(v, n, maxPath)
}

const maxPath = 4096

// filled prints bytes that the call stored.
func (p *printer) filled(code byte, v uintptr) {
	switch {
	case p.errno != 0:
		p.pointer(v)
	case code == 'G':
		p.path(v)
	case code == 'H':
		p.quoted(slice(v, min(p.ret, stringMax)), true)
		p.more(p.ret > stringMax)
	default:
		p.bytes(v, p.ret, stringMax)
	}
}

// bytes prints the n bytes at addr as a string, at most limit of them.
func (p *printer) bytes(addr, n, limit uintptr) {
	if addr < platform.PageSize {
		p.pointer(addr)
		return
	}
	p.quoted(slice(addr, min(n, limit)), false)
	p.more(n > limit)
}

func (p *printer) more(yes bool) {
	if yes {
		p.text("...")
	}
}

func (p *printer) quoted(s []byte, asHex bool) {
	p.text(`"`)
	for i, c := range s {
		if asHex {
			p.raw('\\', 'x', digits[c>>4], digits[c&15])
			continue
		}
		if short := escapes[c]; short != 0 {
			p.raw('\\', short)
			continue
		}
		if c >= ' ' && c < 0x7f {
			p.raw(c)
			continue
		}
		// Three octal digits only if the next byte is a digit as well.
		switch joins := i+1 < len(s) && s[i+1] >= '0' && s[i+1] <= '9'; {
		case c >= 0o100 || joins:
			p.raw('\\', '0'+c>>6, '0'+c>>3&7, '0'+c&7)
		case c >= 0o10:
			p.raw('\\', '0'+c>>3, '0'+c&7)
		default:
			p.raw('\\', '0'+c)
		}
	}
	p.text(`"`)
}

const digits = "0123456789abcdef"

var escapes = [256]byte{'\n': 'n', '\t': 't', '\r': 'r', '\v': 'v', '\f': 'f', '"': '"', '\\': '\\'}

// slice returns the program's memory of n bytes at addr.
func slice(addr, n uintptr) []byte {
	return unsafe.Slice((*byte)(platform.Pointer(addr)), n)
}

// at returns the program's structure at addr; nil if addr cannot be one.
func at[T any](addr uintptr) *T {
	if addr < platform.PageSize {
		return nil
	}
	return (*T)(platform.Pointer(addr))
}
