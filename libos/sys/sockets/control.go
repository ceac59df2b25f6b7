package sockets

import (
	"unsafe"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/sys/call"
)

// alignControl is CMSG_ALIGN of cmsg(3).
func alignControl(n int) int { return (n + 7) &^ 7 }

// readControl decodes the control messages in b into m. Only sockets of AF_UNIX pass
// files; other families ignore them, as Linux does.
func readControl(m *socket.Message, b []byte, domain int) linux.Errno {
	for len(b) >= linux.CmsghdrSize {
		h := (*linux.Cmsghdr)(unsafe.Pointer(&b[0]))
		if h.Len < linux.CmsghdrSize || h.Len > uint64(len(b)) {
			return linux.EINVAL
		}
		data := b[linux.CmsghdrSize:h.Len]
		switch {
		case h.Level == linux.SOL_SOCKET && domain != linux.AF_UNIX &&
			(h.Type == linux.SCM_RIGHTS || h.Type == linux.SCM_CREDENTIALS):
		case h.Level == linux.SOL_SOCKET && h.Type == linux.SCM_RIGHTS:
			if errno := holdFiles(m, data); errno != 0 {
				return errno
			}
		default:
			m.Control = append(m.Control, socket.Control{Level: int(h.Level), Type: int(h.Type), Data: data})
		}
		b = b[min(alignControl(int(h.Len)), len(b)):]
	}
	return 0
}

// holdFiles adds references to the files of the descriptors in data.
func holdFiles(m *socket.Message, data []byte) linux.Errno {
	if len(m.Files)+len(data)/4 > linux.SCM_MAX_FD {
		return linux.EINVAL
	}
	for ; len(data) >= 4; data = data[4:] {
		o := call.Files.Hold(int(*(*int32)(unsafe.Pointer(&data[0]))))
		if o == nil {
			return linux.EBADF
		}
		m.Files = append(m.Files, o)
	}
	return 0
}

// dropFiles drops m's references to files.
func dropFiles(m *socket.Message) {
	for _, o := range m.Files {
		o.Drop()
	}
	m.Files = nil
}

// writeControl encodes m's control messages and files into b and returns the length
// used. It drops what does not fit, and sets MSG_CTRUNC.
func writeControl(m *socket.Message, b []byte, cloexec bool) int {
	used := 0
	put := func(level, typ int, data []byte) {
		room := b[used:]
		if len(room) < linux.CmsghdrSize {
			m.Flags |= linux.MSG_CTRUNC
			return
		}
		n := linux.CmsghdrSize + len(data)
		if n > len(room) {
			m.Flags |= linux.MSG_CTRUNC
			n = len(room)
		}
		*(*linux.Cmsghdr)(unsafe.Pointer(&room[0])) = linux.Cmsghdr{Len: uint64(n), Level: int32(level), Type: int32(typ)}
		copy(room[linux.CmsghdrSize:n], data)
		used += min(alignControl(n), len(room))
	}
	for _, c := range m.Control {
		put(c.Level, c.Type, c.Data)
	}
	if len(m.Files) > 0 {
		fit := max(len(b)-used-linux.CmsghdrSize, 0) / 4
		fds := installFiles(m.Files[:min(fit, len(m.Files))], cloexec)
		if len(fds) < len(m.Files) {
			m.Flags |= linux.MSG_CTRUNC
		}
		if len(fds) > 0 {
			put(linux.SOL_SOCKET, linux.SCM_RIGHTS, unsafe.Slice((*byte)(unsafe.Pointer(&fds[0])), 4*len(fds)))
		}
		dropFiles(m)
	}
	return used
}

// installFiles gives files descriptors, as long as there are free ones.
func installFiles(files []*file.Open, cloexec bool) []int32 {
	var fds []int32
	for _, o := range files {
		fd, errno := call.Files.InstallOpen(o, 0, cloexec)
		if errno != 0 {
			break
		}
		fds = append(fds, int32(fd))
	}
	return fds
}
