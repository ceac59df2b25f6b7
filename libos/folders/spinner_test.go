package folders

import "testing"

func TestASpinThatFailedPausesSpinning(t *testing.T) {
	var p spinner
	p.start()
	polled := 0
	for p.spin() {
		polled++
	}
	if polled == 0 {
		t.Error("the first spin does not poll")
	}
	for range spinPause {
		if p.start(); p.spin() {
			t.Fatal("polled again before the pause was over")
		}
	}
	if p.start(); !p.spin() {
		t.Error("does not poll after the pause")
	}
}
