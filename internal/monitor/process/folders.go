package process

import (
	"errors"
	"fmt"

	"github.com/pith-os/pith/internal/monitor"
	"github.com/pith-os/pith/internal/ninep"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// socketOverhead is what a message must be shorter than the send buffer
// (unix_dgram_sendmsg in Linux's net/unix/af_unix.c).
const socketOverhead = 32

// fileServer serves the folders of an instance on its end of boot.FDFiles.
type fileServer struct {
	*ninep.Server
	fd int // blocking
}

// newFileServer takes over fd.
func newFileServer(fd int, folders []monitor.Folder) (*fileServer, error) {
	growBuffer(fd)
	room, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("files socket: %w", err), unix.Close(fd))
	}
	var exports []ninep.Folder
	for i, m := range monitor.Mounts(folders) {
		exports = append(exports, ninep.Folder{Name: m.Tag, Path: folders[i].Host, ReadOnly: m.ReadOnly})
	}
	server, err := ninep.New(exports, min(boot.MaxFilesMessage, room-socketOverhead))
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return &fileServer{server, fd}, nil
}

// serve answers the image until it ends, or stop.
func (f *fileServer) serve() error {
	if err := f.Serve(f.fd); err != nil {
		return fmt.Errorf("folders: %w", err)
	}
	return nil
}

// stop has serve return.
func (f *fileServer) stop() { _ = unix.Shutdown(f.fd, unix.SHUT_RDWR) }

// close frees what the server has, after serve.
func (f *fileServer) close() {
	f.Close()
	unix.Close(f.fd)
}
