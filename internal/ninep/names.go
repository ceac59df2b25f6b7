package ninep

import (
	"bytes"

	"github.com/pith-os/pith/libos/vfs/ninep/wire"

	"golang.org/x/sys/unix"
)

// Requests that change directories. Their fid is the directory.

// change checks that the folder is writable, and reads the name to change.
func (e *entry) change(r *request) (string, error) {
	if err := e.writable(); err != nil {
		return "", err
	}
	return r.name()
}

// made returns the entry of the new object name, and adds its qid to the reply.
func (e *entry) made(name string, a *answer) (*entry, error) {
	c, id, err := e.child(name)
	if err != nil {
		return nil, err
	}
	a.id(id)
	return c, nil
}

func (e *entry) mkdir(r *request, a *answer) error {
	name, err := e.change(r)
	if err != nil {
		return err
	}
	mode := r.U32() & 0o7777
	r.U32() // group
	if err := r.end(); err != nil {
		return err
	}
	if err := unix.Mkdirat(e.fd, name, mode); err != nil {
		return err
	}
	return e.finish(name, mode, a)
}

// finish sets the mode of the new object name, because umask(2) has cleared
// bits.
func (e *entry) finish(name string, mode uint32, a *answer) error {
	c, err := e.made(name, a)
	if err != nil {
		return err
	}
	defer c.release()
	var st unix.Stat_t
	if err := unix.Fstat(c.fd, &st); err != nil {
		return err
	}
	// mkdir(2) sets this bit of a directory when its parent has it.
	if want := mode | st.Mode&unix.S_ISGID; st.Mode&0o7777 != want {
		return c.chmod(want)
	}
	return nil
}

func (e *entry) symlink(r *request, a *answer) error {
	name, err := e.change(r)
	if err != nil {
		return err
	}
	target := r.Str()
	r.U32() // group
	if err := r.end(); err != nil {
		return err
	}
	if bytes.IndexByte(target, 0) >= 0 {
		return unix.EINVAL
	}
	if err := unix.Symlinkat(string(target), e.fd, name); err != nil {
		return err
	}
	c, err := e.made(name, a)
	if err == nil {
		c.release()
	}
	return err
}

// mknod makes a regular file, a FIFO or a socket. FIFOs and sockets are only
// names for the program: this server never opens them. Devices are refused.
func (e *entry) mknod(r *request, a *answer) error {
	name, err := e.change(r)
	if err != nil {
		return err
	}
	mode := r.U32()
	r.Take(3 * 4) // device, group
	if err := r.end(); err != nil {
		return err
	}
	switch mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFIFO, unix.S_IFSOCK:
	default:
		return unix.EPERM
	}
	if err := unix.Mknodat(e.fd, name, mode, 0); err != nil {
		return err
	}
	return e.finish(name, mode&0o7777, a)
}

func (e *entry) link(r *request) error {
	target, err := e.server.fid(r.U32())
	if err != nil {
		return err
	}
	defer target.release()
	name, err := e.change(r)
	if err != nil {
		return err
	}
	if err := r.end(); err != nil {
		return err
	}
	if target.export != e.export {
		return unix.EXDEV
	}
	return unix.Linkat(e.server.self, target.name(), e.fd, name, unix.AT_SYMLINK_FOLLOW)
}

func (e *entry) renameat(r *request) error {
	from, err := e.change(r)
	if err != nil {
		return err
	}
	to, err := e.server.fid(r.U32())
	if err != nil {
		return err
	}
	defer to.release()
	name, err := r.name()
	if err != nil {
		return err
	}
	if err := r.end(); err != nil {
		return err
	}
	if to.export != e.export {
		return unix.EXDEV
	}
	return unix.Renameat(e.fd, from, to.fd, name)
}

func (e *entry) unlinkat(r *request) error {
	name, err := e.change(r)
	if err != nil {
		return err
	}
	flags := r.U32()
	if err := r.end(); err != nil {
		return err
	}
	if flags&^wire.RemoveDir != 0 {
		return unix.EINVAL
	}
	return unix.Unlinkat(e.fd, name, int(flags)) // wire.RemoveDir is AT_REMOVEDIR
}
