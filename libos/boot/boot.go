// Package boot is the contract between a monitor and the image that it starts:
// the boot parameters, the descriptors of a confined process, the control
// messages and the exit codes. Both sides import it. It imports only what the
// library OS may import.
//
// The boot parameters are one line of fields, KEY=VALUE, separated by spaces.
// Values are percent-encoded. The same line is the value of [EnvVar] for a
// confined process, and the kernel command line for a virtual machine. Fields
// that are too many for a command line go on in a boot module. A virtual machine
// that is started by hand needs no boot parameters.
package boot

import (
	"errors"
	"strconv"
	"strings"
)

// EnvVar is the environment variable that carries the boot parameters of a
// confined process. It is always the first variable. The runtime removes it
// before the program can see it.
const EnvVar = "PITH_BOOT"

// Descriptors of a confined process. They are in place before the image's first
// instruction, and the seccomp filter knows their numbers.
const (
	FDStdin   = 0
	FDStdout  = 1
	FDStderr  = 2
	FDControl = 3 // SOCK_SEQPACKET to the monitor: one message, one line of text
	FDPackets = 4 // SOCK_SEQPACKET to the gateway: one message, a VirtioNetHeader and an Ethernet frame
	FDEpoll   = 5 // epoll instance
	FDWake    = 6 // eventfd, non-blocking, registered by the runtime in FDEpoll
	FDRandom  = 7 // /dev/urandom
	FDFiles   = 8 // SOCK_SEQPACKET to the server of Config.Mounts: one message, one of 9P2000.L
	FDSockets = 9 // SOCK_SEQPACKET to the server of host sockets: one message, one of sockets.go
	// FDListen is the first of the listening sockets. There is one for each
	// port of Config.Publish, in the same order, and each is bound. The
	// connections that the image accepts, and the sockets that the monitor
	// passes, get the descriptors after the last.
	FDListen = 10
)

// MaxFilesMessage is the length in bytes of the longest message on FDFiles: it has
// 64 KiB of data. The kernel finds memory for it in pieces of any size, and it fits
// the buffer that a socket has by default. Longer messages would hardly be faster.
const MaxFilesMessage = 64<<10 + 24

// MaxCPUs is the largest number of CPUs of an instance.
const MaxCPUs = 64

// DoorbellVector is the interrupt vector of Config.Doorbell. An image's vCPUs
// interrupt each other with it.
const DoorbellVector = 0x71

// MaxLine is the length in bytes of the longest line of boot parameters.
const MaxLine = 1<<20 - 1

// Config are the boot parameters.
type Config struct {
	PID      int      // confined process: its id in its own namespace; 1 unless given
	CPUs     int      // 1 to MaxCPUs; 0: as many as there are
	Memory   uint64   // bytes; 0: as much as there is
	Hostname string   // RFC 1123 label(s)
	Net      *Net     // nil: a process has the loopback interface only, a VM looks for a network card
	Publish  []uint16 // published TCP ports; a process has their listening sockets from FDListen on
	// Sockets says which sockets the monitor makes, on FDSockets. It is for a
	// confined process only.
	Sockets SocketMode
	Trace   bool    // print system calls to standard error
	Dir     string  // working directory at the start, made if it does not exist; empty: /
	TTY     [3]bool // which of descriptors 0, 1, 2 are terminals

	Mounts []Mount // shared folders, in the order of mounting

	// Clock is a time of day and the value of the time stamp counter at that
	// time. If it is zero, a VM asks for the time.
	Clock Clock

	// Doorbell is the guest-physical address of a page; 0: there is none. A
	// 32-bit write of a vCPU's number there interrupts that vCPU by
	// DoorbellVector. This is faster than the way of the local APIC.
	Doorbell uint64

	// Args, Env and Devices are for a VM only. A process has the first two
	// from execve(2).
	Args []string // the program's arguments; its name comes first
	Env  []string // the program's environment, KEY=VALUE
	// Devices are the fields that hypervisors add for a kernel, unchanged:
	// virtio_mmio.device=512@0xfeb00e00:12.
	Devices []string
}

// Clock is a time of day and the value of the time stamp counter at that time.
type Clock struct {
	Time int64 // nanoseconds since the Unix epoch
	TSC  uint64
}

// Mount is a shared folder, served by 9P.
type Mount struct {
	// Tag names the folder and contains no colon. It is the mount_tag of a
	// VM's 9P device, and aname of a process's Tattach on FDFiles.
	Tag      string
	Path     string // in the guest: absolute, without a colon
	ReadOnly bool
}

// String returns the mount as a boot parameter: TAG:PATH[:ro].
func (m Mount) String() string {
	s := m.Tag + ":" + m.Path
	if m.ReadOnly {
		s += ":ro"
	}
	return s
}

func parseMount(s string) (Mount, error) {
	tag, rest, _ := strings.Cut(s, ":")
	path, option, optional := strings.Cut(rest, ":")
	if tag == "" || !strings.HasPrefix(path, "/") || optional && option != "ro" {
		return Mount{}, errors.New(shown(s) + " is not TAG:PATH[:ro]")
	}
	return Mount{tag, path, optional}, nil
}

// Net is the static configuration of the network card. Addresses are in their
// usual text forms.
type Net struct {
	MAC      string // aa:bb:cc:dd:ee:ff
	Addr4    string // CIDR, 10.0.2.15/24
	Gateway4 string
	Addr6    string // CIDR; empty: none
	Gateway6 string
	DNS      []string
	MTU      int
}

// Addressed reports whether addresses are given. If not, a VM asks the network
// for them. n may be nil.
func (n *Net) Addressed() bool { return n != nil && (n.Addr4 != "" || n.Addr6 != "") }

// String returns the line that Parse reads.
func (c Config) String() string {
	var w line
	w.add(versionKey, strconv.Itoa(Version))
	w.add("pid", strconv.Itoa(c.PID))
	if c.CPUs != 0 {
		w.add("cpus", strconv.Itoa(c.CPUs))
	}
	if c.Memory != 0 {
		w.add("mem", strconv.FormatUint(c.Memory, 10))
	}
	w.add("host", c.Hostname)
	if n := c.Net; n != nil {
		w.add("mac", n.MAC)
		w.add("ip4", n.Addr4)
		w.add("gw4", n.Gateway4)
		w.add("ip6", n.Addr6)
		w.add("gw6", n.Gateway6)
		w.add("dns", strings.Join(n.DNS, ","))
		w.add("mtu", strconv.Itoa(n.MTU))
	}
	if len(c.Publish) > 0 {
		ports := make([]string, len(c.Publish))
		for i, p := range c.Publish {
			ports[i] = strconv.Itoa(int(p))
		}
		w.add("publish", strings.Join(ports, ","))
	}
	w.add("sockets", string(c.Sockets))
	if c.Trace {
		w.add("trace", "1")
	}
	w.add("dir", c.Dir)
	if c.Clock.Time != 0 {
		w.add("time", strconv.FormatInt(c.Clock.Time, 10))
		w.add("tsc", strconv.FormatUint(c.Clock.TSC, 10))
	}
	if c.Doorbell != 0 {
		w.add("doorbell", strconv.FormatUint(c.Doorbell, 10))
	}
	tty := ""
	for i, t := range c.TTY {
		if t {
			tty += strconv.Itoa(i)
		}
	}
	w.add("tty", tty)
	for _, a := range c.Args {
		w.put("arg", a)
	}
	for _, e := range c.Env {
		w.put("env", e)
	}
	for _, m := range c.Mounts {
		w.put("mount", m.String())
	}
	for _, d := range c.Devices {
		w.field(d)
	}
	return w.String()
}

// Parse reads a line of boot parameters. An unknown key is an error, because the
// line has the version of the contract. Keys that have the form of Linux's
// parameters come from a hypervisor and go to Config.Devices.
func Parse(line string) (Config, error) {
	c := Config{PID: 1}
	if len(line) > MaxLine {
		return c, errors.New("boot parameters: longer than " + strconv.Itoa(MaxLine) + " bytes")
	}
	var n Net
	for field := range strings.FieldsFuncSeq(line, isSpace) {
		key, enc, ok := strings.Cut(field, "=")
		if isHypervisors(key) {
			c.Devices = append(c.Devices, field)
			continue
		}
		if !ok {
			return c, errors.New("boot parameter " + shown(field) + " has no value")
		}
		val, err := unescape(enc)
		if err == nil {
			err = c.set(&n, key, val)
		}
		if err != nil {
			if num, ok := err.(*strconv.NumError); ok {
				err = num.Err // without the text, which may be long
			}
			return c, errors.New("boot parameter " + shown(key) + ": " + err.Error())
		}
	}
	if n.MAC != "" || n.MTU != 0 || len(n.DNS) > 0 || n.Addressed() {
		c.Net = &n
	}
	return c, nil
}

// isSpace reports whether r separates fields. A line may have come from a file.
func isSpace(r rune) bool { return r == ' ' || '\t' <= r && r <= '\r' }

// shown returns the beginning of s, quoted, for an error. s may be anything.
func shown(s string) string {
	const most = 60
	if len(s) > most {
		return strconv.Quote(s[:most]) + "…"
	}
	return strconv.Quote(s)
}

// isHypervisors reports whether a hypervisor adds this key to the line: parameters
// of Linux's drivers, DRIVER.NAME, and Firecracker's pci=off.
func isHypervisors(key string) bool { return strings.Contains(key, ".") || key == "pci" }

func (c *Config) set(n *Net, key, val string) (err error) {
	switch key {
	case versionKey:
		err = checkVersion(val)
	case "pid":
		c.PID, err = strconv.Atoi(val)
	case "cpus":
		c.CPUs, err = strconv.Atoi(val)
		if err == nil && (c.CPUs < 1 || c.CPUs > MaxCPUs) {
			err = errors.New("must be 1 to " + strconv.Itoa(MaxCPUs))
		}
	case "mem":
		c.Memory, err = strconv.ParseUint(val, 10, 64)
	case "host":
		c.Hostname = val
	case "mac":
		if val == "" {
			return errors.New("no address")
		}
		n.MAC = val
	case "ip4":
		n.Addr4 = val
	case "gw4":
		n.Gateway4 = val
	case "ip6":
		n.Addr6 = val
	case "gw6":
		n.Gateway6 = val
	case "dns":
		n.DNS = split(val)
	case "mtu":
		n.MTU, err = strconv.Atoi(val)
	case "publish":
		for _, s := range split(val) {
			p, err := strconv.ParseUint(s, 10, 16)
			if err != nil {
				return err
			}
			c.Publish = append(c.Publish, uint16(p))
		}
	case "sockets":
		switch c.Sockets = SocketMode(val); c.Sockets {
		case SocketsOut, SocketsAll, SocketsChecked:
		default:
			return errors.New("must be out, all or checked")
		}
	case "trace":
		c.Trace = val == "1"
	case "dir":
		if !strings.HasPrefix(val, "/") {
			return errors.New("not an absolute path")
		}
		c.Dir = val
	case "time":
		c.Clock.Time, err = strconv.ParseInt(val, 10, 64)
	case "tsc":
		c.Clock.TSC, err = strconv.ParseUint(val, 10, 64)
	case "doorbell":
		c.Doorbell, err = strconv.ParseUint(val, 10, 64)
	case "tty":
		for i := range c.TTY {
			c.TTY[i] = strings.Contains(val, strconv.Itoa(i))
		}
	case "arg", "env":
		if strings.Contains(val, "\x00") {
			return errors.New("contains a null byte") // no string of execve(2) does
		}
		if key == "arg" {
			c.Args = append(c.Args, val)
		} else {
			c.Env = append(c.Env, val)
		}
	case "mount":
		m, err := parseMount(val)
		if err != nil {
			return err
		}
		c.Mounts = append(c.Mounts, m)
	default:
		err = errors.New("unknown")
	}
	return err
}

func split(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// line builds a line of fields.
type line struct{ strings.Builder }

// add appends a field, unless its value is empty.
func (w *line) add(key, val string) {
	if val != "" {
		w.put(key, val)
	}
}

// put appends a field.
func (w *line) put(key, val string) {
	w.field(key)
	w.WriteByte('=')
	const hex = "0123456789ABCDEF"
	for i := 0; i < len(val); i++ {
		if b := val[i]; b > ' ' && b < 0x7f && b != '%' {
			w.WriteByte(b)
		} else {
			w.WriteByte('%')
			w.WriteByte(hex[b>>4])
			w.WriteByte(hex[b&15])
		}
	}
}

// field appends the beginning of a field, unchanged.
func (w *line) field(s string) {
	if w.Len() > 0 {
		w.WriteByte(' ')
	}
	w.WriteString(s)
}

func unescape(s string) (string, error) {
	if !strings.Contains(s, "%") {
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", errors.New("truncated escape")
		}
		v, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", err
		}
		b = append(b, byte(v))
		i += 2
	}
	return string(b), nil
}
