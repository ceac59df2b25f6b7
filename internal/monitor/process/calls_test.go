package process

import (
	"flag"
	"testing"

	"github.com/pith-os/pith/internal/monitor/jail"
	"github.com/pith-os/pith/internal/monitor/jail/jailtest"

	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write the table of system calls to docs/security.md")

// The lines around the table in docs/security.md.
const (
	document   = "../../../docs/security.md"
	tableStart = "<!-- system calls: go test ./internal/monitor/process -run Table -update -->\n"
	tableEnd   = "<!-- end -->\n"
)

// table is the longest table of an instance. The text of a row is the same for all.
var table = permitted(bounds{pid: 1, addresses: true, descriptors: maxDescriptors})

func TestAtMost32SystemCalls(t *testing.T) {
	jailtest.Check(t, permitted(bounds{pid: 1, descriptors: maxDescriptors}), 32)
	jailtest.Check(t, table, 33) // one more where an image may send to any address
}

func TestTableOfTheDocument(t *testing.T) {
	jailtest.Document(t, document, tableStart, tableEnd, table, *update)
}

func TestFilterFitsEveryInstance(t *testing.T) {
	for _, b := range []bounds{
		{pid: 1, descriptors: 1024},
		{pid: 4194304, network: true, sockets: true, listeners: 1, descriptors: maxDescriptors},
		{pid: 1, folders: true, sockets: true, addresses: true, descriptors: maxDescriptors},
		{pid: 1, network: true, folders: true, sockets: true, listeners: 1000, descriptors: maxDescriptors, exec: execCall{maxDescriptors, 0xc000000001, 0xc000001000, 0xc000002000}},
	} {
		code, err := jail.Filter(permitted(b))
		if err != nil {
			t.Error(err)
		}
		if len(code) > unix.BPF_MAXINSNS {
			t.Errorf("%d instructions", len(code))
		}
	}
}
