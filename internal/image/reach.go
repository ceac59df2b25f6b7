package image

import (
	"debug/elf"
	"encoding/binary"
	"slices"
	"strings"
)

// verifiesPeers reports whether the program may read the system's root certificates. The linker
// keeps the function that reads them for every program with an HTTP server, because the server
// makes the client's end of a TLS connection for HTTP/2 without TLS. So verifiesPeers ignores
// that use. It looks for any other code that begins a handshake or verifies a certificate.
func (p *program) verifiesPeers() bool {
	const plainHTTP2 = "net/http.(*conn).maybeServeUnencryptedHTTP2"
	if !p.has("crypto/x509.loadSystemRoots") {
		return false
	}
	return p.has("crypto/x509.SystemCertPool") ||
		p.usedOutside("crypto/tls.(*Conn).clientHandshake-fm", func(user string) bool { return user == plainHTTP2 }) ||
		p.usedOutside("crypto/tls.(*Conn).serverHandshake-fm", func(string) bool { return false }) ||
		p.usedOutside("crypto/x509.(*Certificate).Verify", func(user string) bool { return strings.HasPrefix(user, "crypto/tls.") })
}

// usedOutside reports whether the program refers to a function, except in the functions that
// known accepts. References in code are calls and address computations. In data, every value
// that equals the function's address counts as a reference.
func (p *program) usedOutside(name string, known func(user string) bool) bool {
	return slices.ContainsFunc(p.named[name], func(f function) bool { return p.refersTo(f, known) })
}

// refersTo reports whether code outside of the functions that known accepts refers to target.
func (p *program) refersTo(target function, known func(user string) bool) bool {
	for _, s := range p.progs {
		if elf.ProgType(s.Type) != elf.PT_LOAD {
			continue
		}
		mem := p.data[s.Off : s.Off+s.Filesz]
		if elf.ProgFlag(s.Flags)&elf.PF_X == 0 {
			for i := 0; i+8 <= len(mem); i += 8 {
				if binary.LittleEndian.Uint64(mem[i:]) == target.addr {
					return true
				}
			}
			continue
		}
		for i := 0; i+4 <= len(mem); i++ {
			at := s.Vaddr + uint64(i)
			if at+4+uint64(int32(binary.LittleEndian.Uint32(mem[i:]))) != target.addr {
				continue
			}
			f, ok := p.function(at)
			if !ok || f.name == target.name || known(f.name) {
				continue
			}
			offset := int(at - f.addr)
			start, inst := instructionAround(p.body(f), offset)
			if inst.PCRel == 4 && start+inst.PCRelOff == offset {
				return true
			}
		}
	}
	return false
}
