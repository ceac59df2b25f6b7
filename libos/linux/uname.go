package linux

// What uname(2) and /proc/sys/kernel say about the kernel. Programs compare the release to
// find out what they can use. No release below this one has all that Pith has.
const (
	Sysname = "Linux"
	Release = "6.12.0-pith"
	Version = "#1 SMP Pith"
)
