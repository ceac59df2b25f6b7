package pipe

import (
	"testing"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/wait"
)

// An open that waits returns when the other side opens. The other side may close again
// before the open looks.
func TestOtherSideIsGoneWhenAnOpenLooks(t *testing.T) {
	p := New()
	w := p.open(linux.O_WRONLY)
	r := p.open(linux.O_RDONLY)
	if errno := (&fifo{End: w}).Connected(); errno != 0 {
		t.Errorf("the writer, who came first: %v", errno)
	}
	if n, errno := w.Write([]byte("x")); n != 1 || errno != 0 {
		t.Errorf("write: %d, %v", n, errno)
	}
	w.Release()
	if errno := (&fifo{End: r}).Connected(); errno != 0 {
		t.Errorf("the reader: %v", errno)
	}
	if ev := r.Ready(); ev&(wait.In|wait.Hup) != wait.In|wait.Hup {
		t.Errorf("the reader has %b", ev)
	}

	p = New()
	r = p.open(linux.O_RDONLY)
	w = p.open(linux.O_WRONLY)
	r.Release()
	if errno := (&fifo{End: w}).Connected(); errno != 0 {
		t.Errorf("a writer whose reader is gone: %v", errno)
	}
}

func TestOpenWaitsForTheOtherSide(t *testing.T) {
	p := New()
	r := p.open(linux.O_RDONLY)
	if errno := (&fifo{End: r}).Connected(); errno != linux.EAGAIN {
		t.Errorf("a reader alone: %v", errno)
	}
	r.Release()
	w := p.open(linux.O_WRONLY)
	if errno := (&fifo{End: w}).Connected(); errno != linux.EAGAIN {
		t.Errorf("a writer after a reader that is gone: %v", errno)
	}
}
