package instance

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Stats is what an instance takes of the host. It counts the instance's own
// processes, and not the process that called Start.
type Stats struct {
	Processes []int         // ids of the host processes; none after the end
	Memory    uint64        // resident bytes, shared ones included; 0 after the end
	CPU       time.Duration // user and system time; after the end, all that it took
	Started   time.Time
	Ended     time.Time // zero while it runs
}

// Stats measures the instance. After its end, it returns what was left last.
func (i *Instance) Stats() (Stats, error) {
	i.mu.Lock() // process ids stay the instance's meanwhile
	defer i.mu.Unlock()
	if i.state.Status == StatusExited {
		return i.final, nil
	}
	s, err := i.measure()
	s.Started = i.state.Started
	return s, err
}

// measure reads what the instance's processes take. They may have ended, as
// long as nobody has waited for them.
func (i *Instance) measure() (s Stats, err error) {
	s.Processes = i.running.Processes()
	for _, pid := range s.Processes {
		cpu, err := cpuTime(pid)
		if err != nil {
			return s, err
		}
		memory, err := residentMemory(pid)
		if err != nil {
			return s, err
		}
		s.CPU += cpu
		s.Memory += memory
	}
	return s, nil
}

// tick is the unit of times in proc_pid_stat(5): Linux has 100 a second on
// every architecture that Pith knows (USER_HZ).
const tick = time.Second / 100

// cpuTime returns the CPU time of a process, its threads that have ended
// included: fields 14 and 15 of proc_pid_stat(5). The second field is a name in
// parentheses, which may contain anything.
func cpuTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const user, system = 14 - 3, 15 - 3
	var total time.Duration
	for _, n := range []int{user, system} {
		if n >= len(fields) {
			return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
		}
		ticks, err := strconv.ParseInt(string(fields[n]), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		total += time.Duration(ticks) * tick
	}
	return total, nil
}

// residentMemory returns the resident memory of a process in bytes: VmRSS of
// proc_pid_status(5). A process that has ended has none.
func residentMemory(pid int) (uint64, error) {
	status, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	defer status.Close()
	lines := bufio.NewScanner(status)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), "VmRSS:"); ok {
			kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 54)
			if err != nil {
				return 0, fmt.Errorf("/proc/%d/status: %w", pid, err)
			}
			return kib << 10, nil
		}
	}
	return 0, lines.Err()
}
