// Package platform is the contract between the library OS and what is below
// it: the Go runtime and, through the runtime's gate, a confined Linux process
// (later a nucleus). Everything above is ordinary Go and knows no more of its
// host than stands here.
//
// runtime.go implements it in the derived Go distribution; hosted.go stands in
// for it when the library OS's packages are tested on an ordinary Linux.
package platform

import (
	"sync/atomic"
	"unsafe"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
)

// Mode says which of a poller's two directions became ready.
type Mode int32

// Directions of the runtime's poller.
const (
	Readable Mode = 1 << iota
	Writable
)

// PageSize is the size of a page in bytes.
const PageSize = 4096

// Config are the boot parameters of this instance.
func Config() *boot.Config { return &config }

var config boot.Config

// Pointer is the address addr as a pointer. System calls carry addresses as
// numbers; this is the one place that turns them back. The caller of the
// system call keeps what is there alive (see syscall.Syscall).
func Pointer(addr uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&addr)) }

// Segment is a part of the image as it lies in memory: a PT_LOAD program header
// of the ELF.
type Segment struct {
	Start, End uintptr // of whole pages
	Off        int64   // in the file
	Prot       int     // PROT_*
}

// SetControl has messages to the monitor be sent by a driver: Control calls it
// from then on. A confined process has a descriptor for them.
func SetControl(send func(msg string) linux.Errno) { controlDriver = send }

var controlDriver func(msg string) linux.Errno

// OnNetworkEnd has f called, once, when the monitor says that the instance's
// network has failed, or at once if it has said so.
func OnNetworkEnd(f func()) {
	networkEnd.Store(&f)
	if networkEnded.Load() {
		EndNetwork()
	}
}

// EndNetwork acts upon the monitor's word that the network has failed.
func EndNetwork() {
	networkEnded.Store(true)
	if f := networkEnd.Swap(nil); f != nil {
		(*f)()
	}
}

var (
	networkEnd   atomic.Pointer[func()]
	networkEnded atomic.Bool
)

// SetEntropy has Random's bytes be made by fill, in a virtual machine, which has
// no host to ask.
func SetEntropy(fill func(p []byte)) { entropy = fill }

var entropy func(p []byte)
