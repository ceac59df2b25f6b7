package boot

import "encoding/binary"

// With SocketsChecked, the monitor has the SOCK_DGRAM sockets. The image has one end of a
// SOCK_SEQPACKET pair for each. A message there is a [Datagram], of DatagramHeader bytes,
// and the data of a datagram. All numbers are little-endian.

// Sizes in bytes.
const (
	DatagramHeader  = 256
	DatagramControl = DatagramHeader - 8 - SocketAddrMax // most control messages
	DatagramData    = 65535
)

// Datagram is the header of a datagram. In messages of the image it names where to send
// it; in messages of the monitor, where it comes from.
type Datagram struct {
	// Errno, of the monitor only, is an error of the socket. There is no datagram.
	Errno uint32
	// Addr is a struct sockaddr; empty: the peer that the socket is connected to.
	Addr []byte
	// Control are control messages (cmsg(3)).
	Control []byte
}

// Put writes the header to b. It reports whether Addr and Control fit.
func (d *Datagram) Put(b *[DatagramHeader]byte) bool {
	if len(d.Addr) > SocketAddrMax || len(d.Control) > DatagramControl {
		return false
	}
	clear(b[:])
	binary.LittleEndian.PutUint32(b[0:], d.Errno)
	b[4] = byte(len(d.Addr))
	binary.LittleEndian.PutUint16(b[6:], uint16(len(d.Control)))
	copy(b[8:], d.Addr)
	copy(b[8+SocketAddrMax:], d.Control)
	return true
}

// ParseDatagram reads a header. The result refers to b.
func ParseDatagram(b *[DatagramHeader]byte) (Datagram, error) {
	addr, control := int(b[4]), int(binary.LittleEndian.Uint16(b[6:]))
	if addr > SocketAddrMax || control > DatagramControl || b[5] != 0 {
		return Datagram{}, errSocketMessage
	}
	return Datagram{
		Errno:   binary.LittleEndian.Uint32(b[0:]),
		Addr:    b[8 : 8+addr : 8+addr],
		Control: b[8+SocketAddrMax : 8+SocketAddrMax+control],
	}, nil
}
