package boot

import (
	"reflect"
	"testing"
)

func TestParseReadsWhatStringWrites(t *testing.T) {
	for _, c := range []Config{
		{CPUs: 1},
		{PID: 77, CPUs: MaxCPUs, Memory: 1 << 40, Hostname: "a b%=\n", Trace: true, TTY: [3]bool{true, false, true}},
		{CPUs: 2, Publish: []uint16{80, 65535}, Net: &Net{MAC: "02:00:00:00:00:01", Addr4: "10.0.2.15/24",
			Gateway4: "10.0.2.2", Addr6: "fd00::15/64", Gateway6: "fd00::2", DNS: []string{"10.0.2.3", "fd00::3"}, MTU: 65520}},
	} {
		got, err := Parse(c.String())
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%q\n got %+v (%v)\nwant %+v", c.String(), got, err, c)
		}
	}
}

func TestParseRefusesWhatIsNotABootLine(t *testing.T) {
	for _, line := range []string{"", "cpus=0", "cpus=65", "cpus=1 mem=-1", "cpus=1 what=1", "cpus=1 host=%4", "cpus=1 host=%zz", "cpus", "cpus=1 publish=70000"} {
		if c, err := Parse(line); err == nil {
			t.Errorf("%q: no error, %+v", line, c)
		}
	}
}

func TestListenMessage(t *testing.T) {
	for _, l := range []Listen{{80, true}, {65535, false}} {
		if got, err := ParseListen(l.String()); err != nil || got != l {
			t.Errorf("%q: got %v, %v", l.String(), got, err)
		}
	}
	for _, s := range []string{"", "listen", "listen 70000", "listen -1", "stop 80", "listen 80 81"} {
		if l, err := ParseListen(s); err == nil {
			t.Errorf("%q: no error, %v", s, l)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("pid=1 cpus=2 mem=5 host=a mac=x ip4=1 publish=1,2 tty=01 trace=1")
	f.Fuzz(func(t *testing.T, line string) {
		c, err := Parse(line)
		if err != nil {
			return
		}
		again, err := Parse(c.String())
		if err != nil || again.String() != c.String() {
			t.Errorf("%q: %q, %v, %q", line, c.String(), err, again.String())
		}
	})
}
