package boot

import (
	"reflect"
	"testing"
)

func TestSocketMessagesAreReadAsWritten(t *testing.T) {
	for _, r := range []SocketRequest{
		{ID: 1<<32 - 1, Op: SocketOpen, Domain: 2, Type: 1, Peer: []byte{2, 0, 0, 80, 10, 0, 0, 1}},
		{ID: 3, Op: SocketPublish, Port: 8080, Backlog: 65535, Peer: []byte{}},
		{ID: 4, Op: SocketUnpublish, Port: 65535, Peer: []byte{}},
		{Op: SocketOpen, Domain: 10, Type: 2, Peer: make([]byte, SocketAddrMax), Options: []SocketOption{
			{1, 9, []byte{1, 0, 0, 0}}, {6, 13, make([]byte, SocketOptionMax)}, {41, 67, []byte{}}}},
	} {
		b := r.Append(nil)
		got, err := ParseSocketRequest(b)
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%+v, %v, want %+v", got, err, r)
		}
		for n := range b {
			if got, err := ParseSocketRequest(b[:n]); err == nil {
				t.Errorf("%d of %d bytes: no error, %+v", n, len(b), got)
			}
		}
	}
	r := SocketReply{7, 111, []byte{1, 2}}
	if got, err := ParseSocketReply(r.Append(nil)); err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestTheLongestSocketRequestFits(t *testing.T) {
	r := SocketRequest{Op: SocketOpen, Peer: make([]byte, SocketAddrMax)}
	for range SocketOptions {
		r.Options = append(r.Options, SocketOption{Value: make([]byte, SocketOptionMax)})
	}
	if n := len(r.Append(nil)); n > MaxSocketRequest {
		t.Errorf("%d bytes, more than %d", n, MaxSocketRequest)
	}
}

func FuzzSocketRequest(f *testing.F) {
	f.Add((&SocketRequest{Op: SocketOpen, Domain: 2, Type: 1, Peer: []byte{2, 0, 0, 80}, Options: []SocketOption{{1, 9, []byte{1}}}}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseSocketRequest(b)
		if err != nil {
			return
		}
		if again := r.Append(nil); string(again) != string(b) {
			t.Errorf("%x became %x", b, again)
		}
	})
}
