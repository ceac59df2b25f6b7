package ninep

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/pith-os/pith/libos/vfs/ninep/wire"

	"golang.org/x/sys/unix"
)

const testMessage = 8 << 10

// client makes requests to a server.
type client struct {
	t   testing.TB
	s   *Server
	buf []byte
}

// serve starts a server of folders, and returns a client with a session.
func serve(t testing.TB, folders ...Folder) *client {
	t.Helper()
	s, err := New(folders, testMessage)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	c := &client{t, s, make([]byte, testMessage)}
	c.ok(wire.Tversion, uint32(testMessage), wire.Version)
	return c
}

// message returns a request with the given fields.
func message(typ uint8, tag uint16, fields ...any) []byte {
	b := wire.PutU16([]byte{0, 0, 0, 0, typ}, tag)
	for _, f := range fields {
		switch f := f.(type) {
		case uint8:
			b = append(b, f)
		case uint16:
			b = wire.PutU16(b, f)
		case uint32:
			b = wire.PutU32(b, f)
		case int:
			b = wire.PutU32(b, uint32(f))
		case uint64:
			b = wire.PutU64(b, f)
		case string:
			b = wire.PutStr(b, f)
		case []byte:
			b = append(wire.PutU32(b, uint32(len(f))), f...)
		default:
			panic("a field of unsupported type")
		}
	}
	binary.LittleEndian.PutUint32(b, uint32(len(b)))
	return b
}

// ask makes a request. It returns the fields of the reply, or the reply's
// error.
func (c *client) ask(typ uint8, fields ...any) (wire.Reader, error) {
	c.t.Helper()
	return c.raw(message(typ, 7, fields...))
}

func (c *client) raw(req []byte) (wire.Reader, error) {
	c.t.Helper()
	var r wire.Reader
	sent := 0
	c.s.Handle(req, c.buf, func(reply []byte) { r.B = bytes.Clone(reply); sent++ })
	if sent != 1 {
		c.t.Fatalf("the request has %d replies, want 1", sent)
	}
	length := len(r.B)
	size, typ, tag := r.U32(), r.U8(), r.U16()
	switch {
	case r.Bad || int(size) != length || length > testMessage:
		c.t.Fatalf("a reply of %d bytes has size field %d", length, size)
	case len(req) >= wire.Head && tag != binary.LittleEndian.Uint16(req[5:]):
		c.t.Fatalf("the reply has tag %d, which differs from the request's", tag)
	case typ == wire.Rlerror:
		return r, unix.Errno(r.U32())
	case typ != req[4]+1:
		c.t.Fatalf("the reply to a request of type %[2]d has type %[1]d", typ, req[4])
	}
	return r, nil
}

// ok makes a request that must succeed.
func (c *client) ok(typ uint8, fields ...any) wire.Reader {
	c.t.Helper()
	r, err := c.ask(typ, fields...)
	if err != nil {
		c.t.Fatalf("request of type %d with fields %v: %v", typ, fields, err)
	}
	return r
}

func (c *client) attach(fid int, folder string) {
	c.t.Helper()
	c.ok(wire.Tattach, fid, uint32(wire.NoFid), "", folder, 0)
}

// walk makes fid to for the object that names lead to from fid from.
func (c *client) walk(from, to int, names ...string) (wire.Reader, error) {
	c.t.Helper()
	fields := []any{from, to, uint16(len(names))}
	for _, n := range names {
		fields = append(fields, n)
	}
	return c.ask(wire.Twalk, fields...)
}

// reach is a walk that must succeed.
func (c *client) reach(from, to int, names ...string) {
	c.t.Helper()
	if r, err := c.walk(from, to, names...); err != nil || int(r.U16()) != len(names) {
		c.t.Fatalf("walk to %q: %v, or some names are missing", names, err)
	}
}

// write writes a file of the host.
func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// read returns the content of a file of the host.
func read(t testing.TB, elem ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
