//go:build pith

package platform

// The numbers of the calls between the layers of a virtual machine. The toolchain
// copies this file into package runtime too, for the nucleus and the thread layer:
// each number stands here only.

// Nucleus calls, from the thread layer at CPL 3 into the nucleus at CPL 0. Addresses
// are virtual unless they are called guest-physical, lengths are in bytes and
// multiples of a page. A result above -4096 is a negative errno.
const (
	callExit     = iota // exit code: ends the virtual machine
	callMap             // address, length, PROT_* and mapFixed: a lazy mapping
	callUnmap           // address, length
	callProtect         // address, length, PROT_*
	callDiscard         // address, length: zero again when next touched
	callDMA             // address, pages: contiguous page frames; returns the first one's guest-physical address
	callDevice          // address, guest-physical address, pages: uncached
	callFirmware        // address, guest-physical address, pages: read-only
	callWait            // counter value, timer ticks: until an interrupt; 0: no timer
	callArm             // counter value, timer ticks: sets this CPU's timer
	callIPI             // CPU number: upcall there
	callStart           // CPU number, interrupt controller's id: starts it
	callTLS             // address: this CPU's thread pointer
	callTake            // frame: takes free page frames from it on; returns first<<24 | number
	callGive            // first frame, number: gives them back
	callPower           // 1: I/O port, 0: memory; address, value: what switches the virtual machine off
)

// Platform calls, from package platform into the thread layer, by the runtime's gate.
// The numbers begin behind Linux's. Results are as above.
const (
	platformDMA      = 1000 + iota // pages, *guest-physical address: returns the address
	platformDevice                 // guest-physical address, pages: returns the address
	platformFirmware               // guest-physical address, pages: returns the address
	platformTake                   // as callTake
	platformGive                   // as callGive
	platformSetWall                // nanoseconds since the Unix epoch
	platformFire                   // vector: as if the interrupt had come
	platformPower                  // as callPower
)
