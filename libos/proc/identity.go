package proc

import (
	"strconv"
	"strings"

	"github.com/pith-os/pith/libos/cred"
)

// ids returns the columns of Uid and Gid in /proc/self/status.
func ids(id cred.IDs) string {
	return list32("\t", id.Real, id.Effective, id.Saved, id.FS)
}

func groups() string { return list32(" ", cred.Current().Groups...) }

func list32(sep string, numbers ...uint32) string {
	var texts []string
	for _, n := range numbers {
		texts = append(texts, strconv.FormatUint(uint64(n), 10))
	}
	return strings.Join(texts, sep)
}

// capabilities formats a set as 16 hexadecimal digits.
func capabilities(caps cred.Caps) string {
	digits := strconv.FormatUint(uint64(caps), 16)
	return "0000000000000000"[len(digits):] + digits
}
