package linux

// Addresses of AF_VSOCK (include/uapi/linux/vm_sockets.h, vsock(7)).
const (
	VMADDR_CID_ANY  = 0xffffffff
	VMADDR_CID_HOST = 2
	VMADDR_PORT_ANY = 0xffffffff

	VMADDR_FLAG_TO_HOST = 1
)

// SockaddrVM is struct sockaddr_vm.
type SockaddrVM struct {
	Family    uint16
	Reserved1 uint16
	Port      uint32
	CID       uint32
	Flags     uint8
	Zero      [3]uint8
}

// SockaddrVMSize is the size of SockaddrVM.
const SockaddrVMSize = 16

// Options of level AF_VSOCK.
const (
	SO_VM_SOCKETS_BUFFER_SIZE         = 0
	SO_VM_SOCKETS_BUFFER_MIN_SIZE     = 1
	SO_VM_SOCKETS_BUFFER_MAX_SIZE     = 2
	SO_VM_SOCKETS_CONNECT_TIMEOUT_OLD = 6
	SO_VM_SOCKETS_CONNECT_TIMEOUT_NEW = 8
)

// IOCTL_VM_SOCKETS_GET_LOCAL_CID asks /dev/vsock for the VM's CID.
const IOCTL_VM_SOCKETS_GET_LOCAL_CID = 0x7b9
