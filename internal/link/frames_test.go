package link

import (
	"bytes"
	"testing"

	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

func TestFramesPassWithoutHeaders(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	link, err := NewFrames(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	if link.Offload() {
		t.Error("a link of frames without headers has offload")
	}
	header := bytes.Repeat([]byte{1}, boot.VirtioNetHeaderSize)
	frames := [][]byte{bytes.Repeat([]byte{2}, 60), bytes.Repeat([]byte{3}, 65549)}
	if err := link.WritePackets([]Packet{
		{header, frames[0]},
		{append(header[:7:7], header[7:]...), frames[1][:100], frames[1][100:]},
	}); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1<<17)
	for i, want := range frames {
		if n, err := unix.Read(fds[1], b); err != nil || !bytes.Equal(b[:n], want) {
			t.Fatalf("frame %d: %d bytes, %v", i, n, err)
		}
		if _, err := unix.Write(fds[1], want); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := unix.Write(fds[1], b[:1000]); err != nil { // longer than its element
		t.Fatal(err)
	}

	head := make([]byte, 26)
	pkts := []Packet{{header, b[:60]}, {head, b[100 : 100+65549]}, {header, b[100000:100010]}, {head}}
	sizes := make([]int, len(pkts))
	n, err := link.ReadPackets(pkts, sizes)
	if err != nil || n != 3 || sizes[0] != 12+60 || sizes[1] != 12+65549 || sizes[2] != 0 {
		t.Fatalf("%d packets of %d bytes, %v", n, sizes, err)
	}
	if !bytes.Equal(header, make([]byte, 12)) || !bytes.Equal(b[:60], frames[0]) {
		t.Errorf("the first packet is wrong: % x % x", header, b[:60])
	}
	if want := append(make([]byte, 12), frames[1][:14]...); !bytes.Equal(head, want) || !bytes.Equal(b[100:100+65535], frames[1][14:]) {
		t.Errorf("the second packet is wrong: % x", head)
	}
	if err := link.Close(); err != nil {
		t.Error(err)
	}
}
