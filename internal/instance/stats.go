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

// Stats has the resources of the host that an instance uses. It counts the instance's own
// processes, but not the process that called Start.
type Stats struct {
	Processes []int         // ids of the host processes; empty after the end
	Memory    uint64        // resident bytes, including shared memory; 0 after the end
	CPU       time.Duration // user and system time; after the end, the total
	Started   time.Time
	Ended     time.Time // zero while it runs
}

// Stats measures the instance. After the instance's end, it returns the last statistics.
func (i *Instance) Stats() (Stats, error) {
	i.mu.Lock() // no other process gets the process ids while mu is locked
	defer i.mu.Unlock()
	if i.state.Status == StatusExited {
		return i.final, nil
	}
	s, err := i.measure()
	s.Started = i.state.Started
	return s, err
}

// measure reads the resources that the instance's processes use. The processes may have ended,
// but must not have been waited for.
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

// cpuTime returns the CPU time of a process, including threads that have ended. It is the sum of
// fields 14 and 15 of proc_pid_stat(5). The second field is a name in parentheses, which may
// contain any characters.
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

// residentMemory returns the resident memory of a process in bytes (VmRSS in
// proc_pid_status(5)). It returns 0 if the process has ended.
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
