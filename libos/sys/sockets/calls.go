// Package sockets has the system calls on sockets. Address families are in their
// own packages, such as unix and inet.
package sockets

import (
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/sys/call"
)

// Rest are the calls that only a program that names system calls makes: see
// package sys.
var Rest = []call.Entry{
	{linux.SYS_SOCKET, sysSocket},
	{linux.SYS_SOCKETPAIR, sysSocketpair},
	{linux.SYS_BIND, sysBind},
	{linux.SYS_CONNECT, sysConnect},
	{linux.SYS_LISTEN, sysListen},
	{linux.SYS_ACCEPT, func(a *call.Args) (uintptr, linux.Errno) { return accept(a, 0) }},
	{linux.SYS_ACCEPT4, func(a *call.Args) (uintptr, linux.Errno) { return accept(a, uint32(a.A3)) }},
	{linux.SYS_GETSOCKNAME, func(a *call.Args) (uintptr, linux.Errno) {
		return socketName(a, socket.Socket.LocalAddr)
	}},
	{linux.SYS_GETPEERNAME, func(a *call.Args) (uintptr, linux.Errno) {
		return socketName(a, socket.Socket.PeerAddr)
	}},
	{linux.SYS_SHUTDOWN, sysShutdown},
	{linux.SYS_SETSOCKOPT, sysSetsockopt},
	{linux.SYS_GETSOCKOPT, sysGetsockopt},
	{linux.SYS_SENDTO, sysSendto},
	{linux.SYS_RECVFROM, sysRecvfrom},
	{linux.SYS_SENDMSG, sysSendmsg},
	{linux.SYS_RECVMSG, sysRecvmsg},
	{linux.SYS_SENDMMSG, sysSendmmsg},
	{linux.SYS_RECVMMSG, sysRecvmmsg},
}
