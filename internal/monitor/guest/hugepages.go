package guest

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/pith-os/pith/internal/instance"
)

// CheckHugePages returns an error if the host has too few huge pages for a memory of that many
// bytes. The message says how to get more.
func CheckHugePages(memory uint64) error {
	info, err := os.Open("/proc/meminfo")
	if err != nil {
		return err
	}
	defer info.Close()
	have := map[string]uint64{}
	lines := bufio.NewScanner(info)
	for lines.Scan() { // proc_meminfo(5): NAME: NUMBER [kB]
		f := strings.Fields(lines.Text())
		if len(f) > 1 && strings.HasPrefix(f[0], "Huge") {
			if have[f[0]], err = strconv.ParseUint(f[1], 10, 64); err != nil {
				return fmt.Errorf("/proc/meminfo: %w", err)
			}
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	size := have["Hugepagesize:"] << 10
	if size == 0 {
		return errors.New("the host's kernel has no huge pages")
	}
	free := have["HugePages_Free:"] - have["HugePages_Rsvd:"]
	// The kernel may make more huge pages on demand.
	more, err := os.ReadFile("/proc/sys/vm/nr_overcommit_hugepages")
	if err != nil {
		return err
	}
	most, err := strconv.ParseUint(strings.TrimSpace(string(more)), 10, 64)
	if err != nil {
		return fmt.Errorf("nr_overcommit_hugepages: %w", err)
	}
	free += most - min(most, have["HugePages_Surp:"])
	if need := (memory + size - 1) / size; free < need {
		return instance.Errorf(instance.HugePages, "the memory is %d huge pages of %dM, and the host has %d free: sudo sysctl vm.nr_hugepages=%d",
			need, size>>20, free, have["HugePages_Total:"]+need-free)
	}
	return nil
}
