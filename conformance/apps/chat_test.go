package apps

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/pith-os/pith/conformance/harness"
)

func TestWebsocketChat(t *testing.T) {
	harness.Serve(t, server("./chat"), 0, func(t *testing.T, i *harness.Instance) {
		ctx, cancel := context.WithTimeout(t.Context(), harness.Timeout)
		defer cancel()
		const members = 10
		var room []*websocket.Conn
		for n := range members {
			c, _, err := websocket.Dial(ctx, fmt.Sprintf("ws://%s/?name=m%d", i.Addr("80"), n), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer c.CloseNow()
			c.SetReadLimit(1 << 20)
			// Hearing itself, it knows that it is in the room.
			say(ctx, t, c, "here")
			hear(ctx, t, c, fmt.Sprintf("m%d: here", n))
			for _, earlier := range room {
				hear(ctx, t, earlier, fmt.Sprintf("m%d: here", n))
			}
			room = append(room, c)
		}
		long := strings.Repeat("long ", 5000)
		for n, c := range room {
			say(ctx, t, c, long)
			for _, other := range room {
				hear(ctx, t, other, fmt.Sprintf("m%d: %s", n, long))
			}
		}
		for _, c := range room {
			// The server answers the closing handshake.
			if err := c.Close(websocket.StatusNormalClosure, "bye"); err != nil {
				t.Errorf("close: %v", err)
			}
		}
	})
}

func say(ctx context.Context, t *testing.T, c *websocket.Conn, text string) {
	t.Helper()
	if err := c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func hear(ctx context.Context, t *testing.T, c *websocket.Conn, want string) {
	t.Helper()
	_, got, err := c.Read(ctx)
	if err != nil || string(got) != want {
		t.Fatalf("heard %.60q, %v, want %.60q", got, err, want)
	}
}
