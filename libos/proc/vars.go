package proc

import (
	"path"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"github.com/pith-os/pith/libos/cred"
	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/mm"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/vfs"
)

// expand returns text with its variables replaced.
func expand(text string) []byte {
	var b []byte
	for {
		before, rest, ok := strings.Cut(text, "${")
		b = append(b, before...)
		if !ok {
			return b
		}
		var name string
		name, text, _ = strings.Cut(rest, "}")
		b = append(b, variable(name)...)
	}
}

// variable returns the text for ${name}.
func variable(name string) string {
	switch name {
	case "bootID":
		return bootID()
	case "bootTime":
		sec, _ := platform.Walltime()
		return decimal(sec - platform.Nanotime()/1e9)
	case "capBounding":
		return capabilities(cred.Current().Bounding)
	case "capEffective":
		return capabilities(cred.Current().Effective)
	case "capInheritable":
		return capabilities(cred.Current().Inheritable)
	case "capPermitted":
		return capabilities(cred.Current().Permitted)
	case "cmdline":
		return list(arguments())
	case "comm":
		return comm()
	case "cpuinfo":
		return cpuinfo()
	case "cpuMask":
		return strconv.FormatUint(1<<platform.Config().CPUs-1, 16)
	case "cpuNano":
		return decimal(platform.CPUTime())
	case "cpuTimes":
		return cpuTimes()
	case "environ":
		return list(environment())
	case "freePages":
		return decimal((total() - resident()) / platform.PageSize)
	case "gid":
		return ids(cred.Current().GID)
	case "groups":
		return groups()
	case "hostname":
		return platform.Config().Hostname
	case "idle":
		return seconds(idle())
	case "lastCPU":
		return strconv.Itoa(platform.Config().CPUs - 1)
	case "maps":
		return maps()
	case "maxFiles":
		return strconv.Itoa(file.MaxDescriptors)
	case "maxFilesPadded":
		return pad(strconv.Itoa(file.MaxDescriptors), -21)
	case "memFree":
		return kilobytes(total() - resident())
	case "memTotal":
		return kilobytes(total())
	case "mountinfo":
		return mountinfo()
	case "mounts":
		return mounts()
	case "openFiles":
		n := 0
		Files.Each(func(int, file.File) { n++ })
		return strconv.Itoa(n)
	case "release":
		return linux.Release
	case "rss":
		return kilobytes(resident())
	case "rssPages":
		return decimal(resident() / platform.PageSize)
	case "startTicks":
		return decimal(started / tick)
	case "threads":
		n, _ := runtime.ThreadCreateProfile(nil)
		return strconv.Itoa(max(n, 1))
	case "ticks":
		return decimal(platform.CPUTime() / tick)
	case "uid":
		return ids(cred.Current().UID)
	case "uptime":
		return seconds(platform.Nanotime())
	case "uuid":
		return uuid()
	case "version":
		return linux.Version
	case "vm":
		return kilobytes(reserved())
	case "vmBytes":
		return decimal(reserved())
	case "vmPages":
		return decimal(reserved() / platform.PageSize)
	}
	panic("proc: no variable " + name)
}

// started is when the instance started, on the clock of /proc/uptime.
var started = platform.Nanotime()

// tick is the unit of CPU times in /proc (USER_HZ), in nanoseconds.
const tick = 1e7

func decimal(v int64) string { return strconv.FormatInt(v, 10) }

// kilobytes formats a number of bytes as the memory tables show it.
func kilobytes(bytes int64) string { return pad(decimal(bytes>>10), 8) }

// seconds formats nanoseconds as seconds with two decimals.
func seconds(ns int64) string {
	return decimal(ns/1e9) + "." + decimal(ns/1e7%100 + 100)[1:]
}

// pad fills s with spaces up to width: on the left, or on the right if width is
// negative.
func pad(s string, width int) string {
	if width < 0 {
		return s + strings.Repeat(" ", max(-width-len(s), 0))
	}
	return strings.Repeat(" ", max(width-len(s), 0)) + s
}

// list ends each string with a zero byte.
func list(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return strings.Join(s, "\x00") + "\x00"
}

// comm returns the program's name, cut to 15 bytes.
func comm() string {
	name := path.Base(executable())
	return name[:min(len(name), 15)]
}

// executable returns the path that os.Executable finds: where the program would
// be in the root if it were a file.
func executable() string {
	args := arguments()
	if len(args) == 0 {
		return "/init"
	}
	return path.Join("/", args[0])
}

// total returns the instance's memory in bytes. resident returns the part in
// use, and reserved the part with addresses.
func total() int64 { return int64(platform.Config().Memory) }

func resident() int64 {
	_, n := platform.Memory()
	return min(int64(n), total())
}

func reserved() int64 {
	n, _ := platform.Memory()
	return int64(n)
}

// idle returns the time that the CPUs were idle, in nanoseconds.
func idle() int64 {
	return max(int64(platform.Config().CPUs)*platform.Nanotime()-platform.CPUTime(), 0)
}

// cpuTimes returns the lines of /proc/stat: one for all CPUs, then one for each
// with an equal share of the time.
func cpuTimes() string {
	var b strings.Builder
	n := int64(platform.Config().CPUs)
	used, rest := platform.CPUTime()/tick, idle()/tick
	line := func(name string, part int64) {
		b.WriteString(name + " " + decimal(used/part) + " 0 0 " + decimal(rest/part) + " 0 0 0 0 0 0\n")
	}
	line("cpu ", 1)
	for i := range n {
		line("cpu"+decimal(i), n)
	}
	return b.String()
}

// cpuinfo returns /proc/cpuinfo: values that are the same on every CPU, and the
// processor's name and flags.
func cpuinfo() string {
	var b strings.Builder
	name := processor()
	vendor := "GenuineIntel"
	if strings.Contains(name, "AMD") {
		vendor = "AuthenticAMD"
	}
	n := platform.Config().CPUs
	for i := range n {
		cpu := strconv.Itoa(i)
		b.WriteString("processor\t: " + cpu +
			"\nvendor_id\t: " + vendor +
			"\ncpu family\t: 6\nmodel\t\t: 0\nmodel name\t: " + name +
			"\nstepping\t: 0\nphysical id\t: 0\nsiblings\t: " + strconv.Itoa(n) +
			"\ncore id\t\t: " + cpu +
			"\ncpu cores\t: " + strconv.Itoa(n) +
			"\napicid\t\t: " + cpu +
			"\nfpu\t\t: yes\nflags\t\t: fpu tsc cx8 cmov mmx fxsr sse sse2 syscall nx lm constant_tsc" + features() +
			"\nclflush size\t: 64\ncache_alignment\t: 64\n\n")
	}
	return b.String()
}

// maps lists the image's segments and the program's mappings. The runtime's own
// memory is not known here.
func maps() string {
	var all []mm.Mapping
	for _, s := range platform.Segments() {
		all = append(all, mm.Mapping{Start: s.Start, End: s.End, Prot: s.Prot, Off: s.Off, Name: executable()})
	}
	var b []byte
	for _, m := range append(all, mm.All()...) {
		b = address(b, m.Start)
		b = address(append(b, '-'), m.End)
		mode := []byte(" ---p ")
		for i, c := range "rwx" {
			if m.Prot>>i&1 != 0 {
				mode[1+i] = byte(c)
			}
		}
		if m.Shared {
			mode[4] = 's'
		}
		b = address(append(b, mode...), uintptr(m.Off))
		b = append(append(append(b, " 00:00 0 "...), m.Name...), '\n')
	}
	return string(b)
}

// address appends v in hexadecimal with at least eight digits.
func address(b []byte, v uintptr) []byte {
	digits := strconv.FormatUint(uint64(v), 16)
	return append(append(b, "00000000"[min(len(digits), 8):]...), digits...)
}

func mounts() string {
	var b strings.Builder
	for _, m := range vfs.Mounts() {
		b.WriteString(m.Source + " " + m.Path + " " + m.FS.Type + " " + m.Options + " 0 0\n")
	}
	return b.String()
}

// mountinfo numbers the mounts from 1 in their order. The parent of a mount is
// the one that its path goes through.
func mountinfo() string {
	var b strings.Builder
	all := vfs.Mounts()
	for i, m := range all {
		parent := 0
		for j, above := range all[:i] {
			if strings.HasPrefix(m.Path, strings.TrimSuffix(above.Path, "/")+"/") {
				parent = j + 1
			}
		}
		dev := m.FS.Dev()
		b.WriteString(strconv.Itoa(i+1) + " " + strconv.Itoa(parent) + " " +
			decimal(int64(linux.Major(dev))) + ":" + decimal(int64(linux.Minor(dev))) +
			" / " + m.Path + " " + m.Options + " - " + m.FS.Type + " " + m.Source + " " + m.Options + "\n")
	}
	return b.String()
}

// bootID returns a UUID that stays the same until the instance ends.
var bootID = sync.OnceValue(uuid)

// uuid returns a random UUID (RFC 9562 §5.4).
func uuid() string {
	var b [16]byte
	platform.Random(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	var s []byte
	for i, c := range b {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			s = append(s, '-')
		}
		const digits = "0123456789abcdef"
		s = append(s, digits[c>>4], digits[c&15])
	}
	return string(s)
}
