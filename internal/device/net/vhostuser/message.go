package vhostuser

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"golang.org/x/sys/unix"
)

// request is a kind of message from the front end.
type request uint32

// Front-end message types of the specification. Those that need a feature which
// the back end does not offer are left out.
const (
	getFeatures         request = 1
	setFeatures         request = 2
	setOwner            request = 3
	resetOwner          request = 4
	setMemTable         request = 5
	setVringNum         request = 8
	setVringAddr        request = 9
	setVringBase        request = 10
	getVringBase        request = 11
	setVringKick        request = 12
	setVringCall        request = 13
	setVringErr         request = 14
	getProtocolFeatures request = 15
	setProtocolFeatures request = 16
	getQueueNum         request = 17
	setVringEnable      request = 18
	getConfig           request = 24
)

// Feature bits: VHOST_USER_F_PROTOCOL_FEATURES, and those of the protocol.
const (
	featureProtocol = 1 << 30

	protocolMQ       = 1 << 0
	protocolReplyAck = 1 << 3
	protocolConfig   = 1 << 9
)

// A message has a header, request u32, flags u32 and size u32 in the host's byte
// order, and then size bytes of payload.
const (
	headerSize = 12

	versionMask   = 0x3
	version       = 0x1
	flagReply     = 1 << 2
	flagNeedReply = 1 << 3

	// In the payload of a message that has a queue's index and a descriptor.
	vringIndexMask = 0xff
	vringNoFD      = 1 << 8

	maxRegions = 8
	regionSize = 32
	// maxPayload is the payload size of the largest message, setMemTable.
	maxPayload = 8 + maxRegions*regionSize
)

var le = binary.LittleEndian

// kind is the form of the messages of one type.
type kind struct {
	name     string
	size     int // of the payload in bytes; -1: the handler checks it
	fds      int // at most
	hasReply bool
}

var kinds = map[request]kind{
	getFeatures:         {"GET_FEATURES", 0, 0, true},
	setFeatures:         {"SET_FEATURES", 8, 0, false},
	setOwner:            {"SET_OWNER", 0, 0, false},
	resetOwner:          {"RESET_OWNER", 0, 0, false},
	setMemTable:         {"SET_MEM_TABLE", -1, maxRegions, false},
	setVringNum:         {"SET_VRING_NUM", 8, 0, false},
	setVringAddr:        {"SET_VRING_ADDR", 40, 0, false},
	setVringBase:        {"SET_VRING_BASE", 8, 0, false},
	getVringBase:        {"GET_VRING_BASE", 8, 0, true},
	setVringKick:        {"SET_VRING_KICK", 8, 1, false},
	setVringCall:        {"SET_VRING_CALL", 8, 1, false},
	setVringErr:         {"SET_VRING_ERR", 8, 1, false},
	getProtocolFeatures: {"GET_PROTOCOL_FEATURES", 0, 0, true},
	setProtocolFeatures: {"SET_PROTOCOL_FEATURES", 8, 0, false},
	getQueueNum:         {"GET_QUEUE_NUM", 0, 0, true},
	setVringEnable:      {"SET_VRING_ENABLE", 8, 0, false},
	getConfig:           {"GET_CONFIG", -1, 0, true},
}

func (r request) String() string {
	if k, ok := kinds[r]; ok {
		return k.name
	}
	return fmt.Sprintf("message %d", uint32(r))
}

// message is a message from the front end that has the form of its kind.
type message struct {
	request request
	flags   uint32
	payload []byte
	fds     []int // owned by the message until takeFD
}

// takeFD passes the message's only descriptor to the caller. It returns -1 if there
// is no descriptor.
func (m *message) takeFD() int {
	if len(m.fds) == 0 {
		return -1
	}
	fd := m.fds[0]
	m.fds = m.fds[1:]
	return fd
}

// close closes the descriptors that takeFD has not taken.
func (m *message) close() {
	for _, fd := range m.fds {
		_ = unix.Close(fd)
	}
	m.fds = nil
}

// reader reads messages from a stream socket.
type reader struct {
	conn    *net.UnixConn
	payload [maxPayload]byte
	oob     [256]byte // room for more descriptors than any message has
}

// next reads one message. The error is io.EOF if the front end hung up between two
// messages.
func (r *reader) next() (m message, err error) {
	defer func() {
		if err != nil {
			m.close()
		}
	}()
	var header [headerSize]byte
	n, oobn, flags, _, err := r.conn.ReadMsgUnix(header[:], r.oob[:])
	if oobn > 0 {
		if m.fds, err = descriptors(r.oob[:oobn], err); err != nil {
			return m, err
		}
	}
	switch {
	case err != nil:
		return m, err
	case n == 0:
		return m, io.EOF
	case flags&unix.MSG_CTRUNC != 0:
		return m, errors.New("a message with too many descriptors")
	}
	if err := r.full(header[n:]); err != nil {
		return m, err
	}
	m.request = request(le.Uint32(header[0:]))
	m.flags = le.Uint32(header[4:])
	size := le.Uint32(header[8:])
	k, known := kinds[m.request]
	switch {
	case m.flags&versionMask != version || m.flags&flagReply != 0:
		return m, fmt.Errorf("%v has flags %#x", m.request, m.flags)
	case !known:
		return m, fmt.Errorf("%v is unknown", m.request)
	case k.size >= 0 && size != uint32(k.size) || size > maxPayload:
		return m, fmt.Errorf("%v has %d bytes", m.request, size)
	case len(m.fds) > k.fds:
		return m, fmt.Errorf("%v has %d descriptors", m.request, len(m.fds))
	}
	m.payload = r.payload[:size]
	return m, r.full(m.payload)
}

// full reads the rest of a message. Descriptors only come with the first byte of a
// message.
func (r *reader) full(p []byte) error {
	if _, err := io.ReadFull(r.conn, p); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	return nil
}

// descriptors returns the descriptors in the control messages oob. If err is not
// nil or oob is malformed, it closes them and returns the error.
func descriptors(oob []byte, err error) ([]int, error) {
	msgs, parseErr := unix.ParseSocketControlMessage(oob)
	err = errors.Join(err, parseErr)
	var all []int
	for i := range msgs {
		fds, rightsErr := unix.ParseUnixRights(&msgs[i])
		err = errors.Join(err, rightsErr)
		all = append(all, fds...)
	}
	if err != nil {
		for _, fd := range all {
			_ = unix.Close(fd)
		}
		return nil, err
	}
	return all, nil
}

// reply sends a reply with payload to a message of type to.
func reply(conn *net.UnixConn, to request, payload []byte) error {
	b := make([]byte, headerSize, headerSize+len(payload))
	le.PutUint32(b[0:], uint32(to))
	le.PutUint32(b[4:], version|flagReply)
	le.PutUint32(b[8:], uint32(len(payload)))
	_, err := conn.Write(append(b, payload...))
	return err
}
