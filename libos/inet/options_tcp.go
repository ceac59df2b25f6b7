package inet

import (
	"sync/atomic"
	"time"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/socket"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// Limits of the keep-alive options of tcp(7) (include/net/tcp.h).
const (
	maxKeepIdle  = 32767
	maxKeepIntvl = 32767
	maxKeepCount = 127
)

// congestionMax is the size of an algorithm's name, including the zero byte
// (TCP_CA_NAME_MAX).
const congestionMax = 16

// tcpOptions are options of a TCP socket that the stack does not have.
type tcpOptions struct {
	notsentLowat atomic.Int32
	fastOpen     atomic.Int32
}

// inherit copies the options that an accepted connection inherits from its
// listener.
func (o *tcpOptions) inherit(from *tcpOptions) { o.notsentLowat.Store(from.notsentLowat.Load()) }

// setTCP sets an option of SOL_TCP.
func (s *stream) setTCP(name int, val []byte) linux.Errno {
	if name == linux.TCP_CONGESTION {
		algorithm := tcpip.CongestionControlOption(cString(val[:min(len(val), congestionMax-1)]))
		if err := s.ep.SetSockOpt(&algorithm); err != nil {
			return linux.ENOENT
		}
		return 0
	}
	v, errno := socket.GetInt(val)
	if errno != 0 {
		return errno
	}
	so := s.ep.SocketOptions()
	seconds := time.Duration(v) * time.Second
	switch name {
	case linux.TCP_NODELAY:
		so.SetDelayOption(v == 0)
		return 0
	case linux.TCP_CORK:
		so.SetCorkOption(v != 0)
		return 0
	case linux.TCP_QUICKACK:
		so.SetQuickAck(v != 0)
		return 0
	case linux.TCP_MAXSEG:
		return errnoOf(s.ep.SetSockOptInt(tcpip.MaxSegOption, v))
	case linux.TCP_KEEPIDLE:
		if v < 1 || v > maxKeepIdle {
			return linux.EINVAL
		}
		opt := tcpip.KeepaliveIdleOption(seconds)
		return errnoOf(s.ep.SetSockOpt(&opt))
	case linux.TCP_KEEPINTVL:
		if v < 1 || v > maxKeepIntvl {
			return linux.EINVAL
		}
		opt := tcpip.KeepaliveIntervalOption(seconds)
		return errnoOf(s.ep.SetSockOpt(&opt))
	case linux.TCP_KEEPCNT:
		if v < 1 || v > maxKeepCount {
			return linux.EINVAL
		}
		return errnoOf(s.ep.SetSockOptInt(tcpip.KeepaliveCountOption, v))
	case linux.TCP_USER_TIMEOUT:
		if v < 0 {
			return linux.EINVAL
		}
		opt := tcpip.TCPUserTimeoutOption(time.Duration(v) * time.Millisecond)
		return errnoOf(s.ep.SetSockOpt(&opt))
	case linux.TCP_LINGER2:
		opt := tcpip.TCPLingerTimeoutOption(seconds)
		return errnoOf(s.ep.SetSockOpt(&opt))
	case linux.TCP_DEFER_ACCEPT:
		opt := tcpip.TCPDeferAcceptOption(max(seconds, 0))
		return errnoOf(s.ep.SetSockOpt(&opt))
	case linux.TCP_SYNCNT:
		return errnoOf(s.ep.SetSockOptInt(tcpip.TCPSynCountOption, v))
	case linux.TCP_WINDOW_CLAMP:
		return errnoOf(s.ep.SetSockOptInt(tcpip.TCPWindowClampOption, v))
	case linux.TCP_NOTSENT_LOWAT:
		s.tcp.notsentLowat.Store(int32(v))
		return 0
	case linux.TCP_FASTOPEN:
		s.tcp.fastOpen.Store(int32(v)) // length of a queue that stays empty
		return 0
	}
	return linux.ENOPROTOOPT
}

// tcpOption reads an option of SOL_TCP.
func (s *stream) tcpOption(name int, val []byte) (int, linux.Errno) {
	so := s.ep.SocketOptions()
	v, err := 0, tcpip.Error(nil)
	switch name {
	case linux.TCP_NODELAY:
		return socket.PutBool(val, !so.GetDelayOption()), 0
	case linux.TCP_CORK:
		return socket.PutBool(val, so.GetCorkOption()), 0
	case linux.TCP_QUICKACK:
		return socket.PutBool(val, so.GetQuickAck()), 0
	case linux.TCP_INFO:
		return s.info(val)
	case linux.TCP_CONGESTION:
		var algorithm tcpip.CongestionControlOption
		if err := s.ep.GetSockOpt(&algorithm); err != nil {
			return 0, errnoOf(err)
		}
		var name [congestionMax]byte
		copy(name[:], algorithm)
		return copy(val, name[:]), 0
	case linux.TCP_MAXSEG:
		v, err = s.ep.GetSockOptInt(tcpip.MaxSegOption)
	case linux.TCP_KEEPIDLE:
		var opt tcpip.KeepaliveIdleOption
		err = s.ep.GetSockOpt(&opt)
		v = int(time.Duration(opt) / time.Second)
	case linux.TCP_KEEPINTVL:
		var opt tcpip.KeepaliveIntervalOption
		err = s.ep.GetSockOpt(&opt)
		v = int(time.Duration(opt) / time.Second)
	case linux.TCP_KEEPCNT:
		v, err = s.ep.GetSockOptInt(tcpip.KeepaliveCountOption)
	case linux.TCP_USER_TIMEOUT:
		var opt tcpip.TCPUserTimeoutOption
		err = s.ep.GetSockOpt(&opt)
		v = int(time.Duration(opt) / time.Millisecond)
	case linux.TCP_LINGER2:
		var opt tcpip.TCPLingerTimeoutOption
		err = s.ep.GetSockOpt(&opt)
		v = int(time.Duration(opt) / time.Second)
	case linux.TCP_DEFER_ACCEPT:
		var opt tcpip.TCPDeferAcceptOption
		err = s.ep.GetSockOpt(&opt)
		v = int(time.Duration(opt) / time.Second)
	case linux.TCP_SYNCNT:
		v, err = s.ep.GetSockOptInt(tcpip.TCPSynCountOption)
	case linux.TCP_WINDOW_CLAMP:
		v, err = s.ep.GetSockOptInt(tcpip.TCPWindowClampOption)
	case linux.TCP_NOTSENT_LOWAT:
		v = int(s.tcp.notsentLowat.Load())
	case linux.TCP_FASTOPEN:
		v = int(s.tcp.fastOpen.Load())
	default:
		return 0, linux.ENOPROTOOPT
	}
	if err != nil {
		return 0, errnoOf(err)
	}
	return socket.PutInt(val, v), 0
}

// linuxState converts the endpoint's state to Linux's number.
func linuxState(s tcp.EndpointState) int {
	switch s {
	case tcp.StateEstablished:
		return linux.TCP_ESTABLISHED
	case tcp.StateConnecting, tcp.StateSynSent:
		return linux.TCP_SYN_SENT
	case tcp.StateSynRecv:
		return linux.TCP_SYN_RECV
	case tcp.StateFinWait1:
		return linux.TCP_FIN_WAIT1
	case tcp.StateFinWait2:
		return linux.TCP_FIN_WAIT2
	case tcp.StateTimeWait:
		return linux.TCP_TIME_WAIT
	case tcp.StateCloseWait:
		return linux.TCP_CLOSE_WAIT
	case tcp.StateLastAck:
		return linux.TCP_LAST_ACK
	case tcp.StateListen:
		return linux.TCP_LISTEN
	case tcp.StateClosing:
		return linux.TCP_CLOSING
	}
	return linux.TCP_CLOSE
}

// info returns TCP_INFO.
func (s *stream) info(val []byte) (int, linux.Errno) {
	var i tcpip.TCPInfoOption
	if err := s.ep.GetSockOpt(&i); err != nil {
		return 0, errnoOf(err)
	}
	mss, err := s.ep.GetSockOptInt(tcpip.MaxSegOption)
	if err != nil {
		return 0, errnoOf(err)
	}
	return socket.Put(val, linux.TCPInfo{
		State:       uint8(linuxState(tcp.EndpointState(i.State))),
		RTO:         uint32(i.RTO.Microseconds()),
		RTT:         uint32(i.RTT.Microseconds()),
		RTTVar:      uint32(i.RTTVar.Microseconds()),
		SndMSS:      uint32(mss),
		RcvMSS:      uint32(mss),
		SndCwnd:     i.SndCwnd,
		SndSsthresh: i.SndSsthresh,
	}), 0
}
