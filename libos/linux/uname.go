package linux

// What uname(2) and /proc/sys/kernel say of the kernel. Programs compare the
// release to know what they can use; this one has all that Pith has.
const (
	Sysname = "Linux"
	Release = "6.12.0-pith"
	Version = "#1 SMP Pith"
)
