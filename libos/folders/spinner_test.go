package folders

import "testing"

func TestPatienceThatWasInVainPauses(t *testing.T) {
	var p patience
	p.begin()
	looked := 0
	for p.left() {
		looked++
	}
	if looked == 0 {
		t.Error("never looked")
	}
	for range patiencePause {
		if p.begin(); p.left() {
			t.Fatal("looked again too soon")
		}
	}
	if p.begin(); !p.left() {
		t.Error("looks no more")
	}
}
