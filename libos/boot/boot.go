// Package boot is the contract between a monitor and the image it starts:
// the boot parameters, the descriptors of the process platform and the
// messages of the control channel. Both sides import it; it imports nothing
// that the library OS could not.
//
// The boot parameters are one line of space-separated words, KEY=VALUE, values
// percent-encoded, so that the same line serves as the value of [EnvVar] of a
// confined process and as the kernel command line of a virtual machine. What
// is too long for that is a boot module, which goes on where the command line
// ends. A virtual machine that is started by hand needs no parameters.
package boot

import (
	"errors"
	"strconv"
	"strings"
)

// EnvVar is the environment variable that carries the boot parameters of a
// confined process. It is always the first one, and the runtime removes it
// before the program can see it.
const EnvVar = "PITH_BOOT"

// Descriptors of a confined process. The jail places them before the image's
// first instruction, and the seccomp filter knows them by number.
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
	// FDListen is the first listening socket: one for each of
	// Config.Publish, in its order, bound by the monitor. Descriptors of
	// connections accepted from them follow the last.
	FDListen = 9
)

// MaxFilesMessage is the longest message on FDFiles, in bytes: data of 64 KiB.
// The kernel finds memory for it in pieces of any size, and it fits the buffer
// that a socket has anyway; longer ones would hardly be faster.
const MaxFilesMessage = 64<<10 + 24

// MaxCPUs is the largest number of CPUs of an instance.
const MaxCPUs = 64

// DoorbellVector is the interrupt vector of Config.Doorbell: the one by which an
// image's CPUs interrupt each other.
const DoorbellVector = 0x71

// MaxLine is the longest line of boot parameters, in bytes.
const MaxLine = 1<<20 - 1

// Config are the boot parameters.
type Config struct {
	PID      int      // process platform: the image's process id in its own namespace; 1 unless given
	CPUs     int      // 1 to MaxCPUs; 0: not given, all that there are
	Memory   uint64   // bytes; 0: not given, all that there is
	Hostname string   // RFC 1123 label(s)
	Net      *Net     // nil: no network device, loopback only; a virtual machine looks for one
	Publish  []uint16 // guest TCP ports whose listening sockets start at FDListen
	Trace    bool     // print system calls to standard error
	Dir      string   // working directory at the start, made where there is none; empty: /
	TTY      [3]bool  // which of descriptors 0, 1, 2 are terminals

	Mounts []Mount // folders of the host, in the order in which they are mounted

	// Clock is the time of day when a virtual machine's time stamp counter
	// had a value; zero: it has to ask.
	Clock Clock

	// Doorbell is the physical address of a page where a 32-bit write of a
	// CPU's number interrupts that CPU by DoorbellVector, which is faster
	// than the local APIC's way; 0: there is none.
	Doorbell uint64

	// Virtual machines only: a process has them from execve(2), or not.
	Args []string // arguments of the program, its name first
	Env  []string // environment of the program, KEY=VALUE
	// Devices are the words of the line that hypervisors add for the
	// kernel, as they stand: virtio_mmio.device=512@0xfeb00e00:12.
	Devices []string
}

// Clock is a time of day and the value that the time stamp counter had then.
type Clock struct {
	Time int64 // nanoseconds since the Unix epoch
	TSC  uint64
}

// Mount is a folder of the host, shared by 9P.
type Mount struct {
	// Tag is what the folder is called (no colon): by a virtual machine's 9P
	// device (virtio 1.2 §5.12.4), by a process that attaches to it on
	// FDFiles (aname of Tattach).
	Tag      string
	Path     string // where the program sees it: absolute, no colon
	ReadOnly bool
}

// String is the mount as a boot parameter has it, TAG:PATH[:ro].
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

// Net is the static configuration of the network device. Addresses are in
// their usual text forms.
type Net struct {
	MAC      string // aa:bb:cc:dd:ee:ff
	Addr4    string // CIDR, 10.0.2.15/24
	Gateway4 string
	Addr6    string // CIDR; empty: none
	Gateway6 string
	DNS      []string
	MTU      int
}

// Addressed says whether addresses are given; a virtual machine asks the
// network for them otherwise. n may be nil.
func (n *Net) Addressed() bool { return n != nil && (n.Addr4 != "" || n.Addr6 != "") }

// String is the line that Parse reads.
func (c Config) String() string {
	var w words
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
		w.word(d)
	}
	return w.String()
}

// Parse reads a line of boot parameters. Unknown keys are errors: the line has the
// version of the contract, so one would be a mistake. Those that are Linux's by their
// form are a hypervisor's and go to Config.Devices.
func Parse(line string) (Config, error) {
	c := Config{PID: 1}
	if len(line) > MaxLine {
		return c, errors.New("boot parameters: longer than " + strconv.Itoa(MaxLine) + " bytes")
	}
	var n Net
	for word := range strings.FieldsFuncSeq(line, isSpace) {
		key, enc, ok := strings.Cut(word, "=")
		if isHypervisors(key) {
			c.Devices = append(c.Devices, word)
			continue
		}
		if !ok {
			return c, errors.New("boot parameter " + shown(word) + " has no value")
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

// isSpace tells what separates words: a line may have come from a file.
func isSpace(r rune) bool { return r == ' ' || '\t' <= r && r <= '\r' }

// shown is s as an error shows it: quoted, and no more than its beginning. What
// was given as a line may be anything.
func shown(s string) string {
	const most = 60
	if len(s) > most {
		return strconv.Quote(s[:most]) + "…"
	}
	return strconv.Quote(s)
}

// isHypervisors tells what a hypervisor adds to the line: parameters of
// Linux's drivers, DRIVER.NAME, and Firecracker's pci=off.
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
			return errors.New("contains a null byte") // which no string of execve(2) can
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

// words builds a line.
type words struct{ strings.Builder }

// add appends a parameter, unless its value is empty.
func (w *words) add(key, val string) {
	if val != "" {
		w.put(key, val)
	}
}

// put appends a parameter.
func (w *words) put(key, val string) {
	w.word(key)
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

// word begins a word of the line, as it stands.
func (w *words) word(s string) {
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
