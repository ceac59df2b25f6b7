package boot

import "testing"

func TestCommandLine(t *testing.T) {
	for _, c := range []Command{{CommandSignal, 15}, {CommandSignal, 64}, {CommandTime, 1794263064123456789}} {
		if got, err := ParseCommand(c.String()); err != nil || got != c {
			t.Errorf("%q: %v, %v", c.String(), got, err)
		}
	}
	for _, s := range []string{"", "signal", "signal 0", "signal 65", "signal x", "time -1", "time 9223372036854775808", "stop 1", "signal 15 "} {
		if c, err := ParseCommand(s); err == nil {
			t.Errorf("%q: no error, %v", s, c)
		}
	}
}
