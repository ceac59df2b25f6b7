package dhcp

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// Format of a message (RFC 2131 §2): op, htype, hlen, hops u8, xid u32, secs,
// flags u16, ciaddr, yiaddr, siaddr, giaddr u32, chaddr of 16 bytes, sname of
// 64, file of 128, the magic cookie, options.
const (
	offOp     = 0
	offXID    = 4
	offSecs   = 8
	offCIAddr = 12
	offYIAddr = 16
	offCHAddr = 28
	offSName  = 44
	offFile   = 108
	offCookie = 236
	offOption = 240

	opRequest    = 1
	opReply      = 2
	htypeEther   = 1
	cookie       = 0x63825363
	minMessage   = 300 // in bytes, from BOOTP: some relays drop shorter messages
	maxMessage   = 1500
	maxOptionLen = 255
)

// Options (RFC 2132; RFC 3442 for the classless routes).
const (
	optPad           = 0
	optMask          = 1
	optRouter        = 3
	optDNS           = 6
	optHostname      = 12
	optDomain        = 15
	optMTU           = 26
	optRequestedAddr = 50
	optLeaseTime     = 51
	optOverload      = 52
	optType          = 53
	optServer        = 54
	optParameters    = 55
	optMaxSize       = 57
	optRenewTime     = 58
	optRebindTime    = 59
	optClientID      = 61
	optRoutes        = 121
	optEnd           = 255
)

// Values of optType.
const (
	discover = 1
	offer    = 2
	request  = 3
	ack      = 5
	nak      = 6
)

// options are the options of a message, by code.
type options map[byte][]byte

// parse reads a reply to the client with address mac in transaction xid.
func parse(b []byte, mac [6]byte, xid uint32) (addr netip.Addr, opts options, err error) {
	switch {
	case len(b) < offOption || binary.BigEndian.Uint32(b[offCookie:]) != cookie:
		return addr, nil, errors.New("the message is not a DHCP message")
	case b[offOp] != opReply || binary.BigEndian.Uint32(b[offXID:]) != xid || [6]byte(b[offCHAddr:]) != mac:
		return addr, nil, errors.New("the message is not a reply to this client")
	}
	opts = options{}
	if err := opts.add(b[offOption:]); err != nil {
		return addr, nil, err
	}
	// §4.1: file and sname may contain more options, in this order.
	overload := opts.byte(optOverload)
	for _, field := range []struct {
		bit  byte
		from int
		to   int
	}{{1, offFile, offCookie}, {2, offSName, offFile}} {
		if overload&field.bit != 0 {
			if err := opts.add(b[field.from:field.to]); err != nil {
				return addr, nil, err
			}
		}
	}
	return netip.AddrFrom4([4]byte(b[offYIAddr:])), opts, nil
}

// add reads a field of options. A repeated option continues the first (RFC
// 3396).
func (o options) add(b []byte) error {
	for len(b) > 0 && b[0] != optEnd {
		if b[0] == optPad {
			b = b[1:]
			continue
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return errors.New("an option is longer than the message")
		}
		o[b[0]] = append(o[b[0]], b[2:2+int(b[1])]...)
		b = b[2+int(b[1]):]
	}
	return nil
}

// byte returns an option of one byte, or 0 when it is missing.
func (o options) byte(code byte) byte {
	if len(o[code]) != 1 {
		return 0
	}
	return o[code][0]
}

// number returns an option of two or four bytes.
func (o options) number(code byte) (v uint32, ok bool) {
	switch b := o[code]; len(b) {
	case 2:
		return uint32(binary.BigEndian.Uint16(b)), true
	case 4:
		return binary.BigEndian.Uint32(b), true
	}
	return 0, false
}

// addrs returns an option that is a list of addresses.
func (o options) addrs(code byte) (all []netip.Addr) {
	for b := o[code]; len(b) >= 4; b = b[4:] {
		all = append(all, netip.AddrFrom4([4]byte(b)))
	}
	return all
}

// routes returns the classless static routes (RFC 3442). Each has the prefix
// length of its destination, the significant bytes of the destination, and the
// router.
func (o options) routes() (all []Route) {
	b := o[optRoutes]
	for len(b) > 0 {
		bits := int(b[0])
		n := (bits + 7) / 8
		if bits > 32 || len(b) < 1+n+4 {
			return nil
		}
		var dst [4]byte
		copy(dst[:], b[1:1+n])
		router := netip.AddrFrom4([4]byte(b[1+n:]))
		all = append(all, Route{netip.PrefixFrom(netip.AddrFrom4(dst), bits).Masked(), router})
		b = b[1+n+4:]
	}
	return all
}

// message builds a message of this client.
type message struct{ b []byte }

// newMessage starts a message of the given type.
func newMessage(typ byte, mac [6]byte, xid uint32, secs uint16, ciaddr netip.Addr) *message {
	m := &message{make([]byte, offOption, minMessage)}
	m.b[offOp], m.b[offOp+1], m.b[offOp+2] = opRequest, htypeEther, byte(len(mac))
	binary.BigEndian.PutUint32(m.b[offXID:], xid)
	binary.BigEndian.PutUint16(m.b[offSecs:], secs)
	if ciaddr.Is4() {
		copy(m.b[offCIAddr:], ciaddr.AsSlice())
	}
	copy(m.b[offCHAddr:], mac[:])
	binary.BigEndian.PutUint32(m.b[offCookie:], cookie)
	m.add(optType, typ)
	m.add(optClientID, append([]byte{htypeEther}, mac[:]...)...)
	m.add(optMaxSize, maxMessage>>8, maxMessage&0xff)
	m.add(optParameters, optMask, optRouter, optDNS, optDomain, optMTU, optRenewTime, optRebindTime, optRoutes)
	return m
}

// add appends an option, unless it is empty.
func (m *message) add(code byte, val ...byte) {
	if n := min(len(val), maxOptionLen); n > 0 {
		m.b = append(append(m.b, code, byte(n)), val[:n]...)
	}
}

// bytes returns the finished message.
func (m *message) bytes() []byte {
	b := append(m.b, optEnd)
	return append(b, make([]byte, max(0, minMessage-len(b)))...)
}
