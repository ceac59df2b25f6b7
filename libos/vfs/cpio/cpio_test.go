package cpio

import (
	"fmt"
	"strings"
	"testing"
)

// archive builds an archive in the newc format.
func archive(entries ...Entry) []byte {
	var b []byte
	pad := func() {
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	for _, e := range append(entries, Entry{Name: trailer}) {
		b = fmt.Appendf(b, "070701%08x%08X%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", e.Ino, e.Mode, e.UID, e.GID,
			e.Nlink, e.Mtime, len(e.Data), 0, 0, e.Rdev[0], e.Rdev[1], len(e.Name)+1, 0)
		b = append(append(b, e.Name...), 0)
		pad()
		b = append(b, e.Data...)
		pad()
	}
	return b
}

func TestEntriesAreRead(t *testing.T) {
	a := archive(
		Entry{Name: "etc", Mode: 0o40755, Nlink: 2},
		Entry{Name: "etc/hosts", Mode: 0o100644, UID: 1, GID: 2, Mtime: 1e9, Data: []byte("127.0.0.1\n")},
	)
	var got []string
	err := Read(a, func(e *Entry) error {
		got = append(got, fmt.Sprintf("%s %o %d %d %d %q", e.Name, e.Mode, e.UID, e.GID, e.Mtime, e.Data))
		return nil
	})
	want := []string{`etc 40755 0 0 0 ""`, `etc/hosts 100644 1 2 1000000000 "127.0.0.1\n"`}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("Read: %v, got entries %q, want %q", err, got, want)
	}
}

func TestDamagedArchivesAreRefused(t *testing.T) {
	good := archive(Entry{Name: "a", Mode: 0o100644, Data: []byte("data")})
	for n := range good[:len(good)-16] {
		if err := Read(good[:n], func(*Entry) error { return nil }); err == nil {
			t.Errorf("Read accepted an archive cut after %d bytes", n)
		}
	}
	for name, change := range map[string]func(string) string{
		"magic":     func(s string) string { return "070702" + s[6:] },
		"not hex":   func(s string) string { return s[:6] + "0000000g" + s[14:] },
		"no name":   func(s string) string { return s[:94] + "00000000" + s[102:] },
		"long name": func(s string) string { return s[:94] + "ffffffff" + s[102:] },
		"long data": func(s string) string { return s[:54] + "ffffffff" + s[62:] },
		"two zeros": func(s string) string { return strings.Replace(s, "a\x00", "\x00\x00", 1) },
	} {
		if err := Read([]byte(change(string(good))), func(*Entry) error { return nil }); err == nil {
			t.Errorf("%s: Read accepted the archive", name)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(archive(Entry{Name: "a/b", Mode: 0o100644, Data: []byte("data")}))
	f.Fuzz(func(t *testing.T, a []byte) {
		total := 0
		// Read may fail. It must not panic, or return data from outside the archive.
		_ = Read(a, func(e *Entry) error {
			total += len(e.Data)
			return nil
		})
		if total > len(a) {
			t.Errorf("entries have %d bytes of data, the archive has %d bytes", total, len(a))
		}
	})
}
