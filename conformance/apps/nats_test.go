package apps

import (
	"context"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/pith-os/pith/conformance/harness"
)

func TestNATS(t *testing.T) {
	long(t)
	program := harness.Program{
		Package: "github.com/nats-io/nats-server/v2",
		Args:    []string{"-a", "0.0.0.0", "-p", "${port:4222}", "-m", "${port:8222}", "-js", "-sd", "${root}/tmp/nats"},
		Ports:   []string{"4222", "8222"},
	}
	harness.Serve(t, program, 0, func(t *testing.T, i *harness.Instance) {
		c, err := nats.Connect("nats://" + i.Addr("4222"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		t.Run("publish and subscribe", func(t *testing.T) { checkPublish(t, c, "nats://"+i.Addr("4222")) })
		t.Run("request and reply", func(t *testing.T) { checkRequest(t, c) })
		t.Run("JetStream", func(t *testing.T) { checkJetStream(t, c) })
		t.Run("monitoring", func(t *testing.T) {
			if _, err := request("GET", "http://"+i.Addr("8222")+"/varz", ""); err != nil {
				t.Error(err)
			}
		})
	})
}

func checkPublish(t *testing.T, c *nats.Conn, url string) {
	const messages = 5000
	sub, err := c.SubscribeSync("news.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Flush(); err != nil { // the server knows of it
		t.Fatal(err)
	}
	publisher, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer publisher.Close()
	for n := range messages {
		if err := publisher.Publish(fmt.Sprint("news.", n%7), fmt.Append(nil, n)); err != nil {
			t.Fatal(err)
		}
	}
	for n := range messages {
		m, err := sub.NextMsg(harness.Timeout)
		if err != nil || string(m.Data) != fmt.Sprint(n) {
			t.Fatalf("message %d: %v, %v", n, m, err)
		}
	}
}

func checkRequest(t *testing.T, c *nats.Conn) {
	_, err := c.QueueSubscribe("double", "workers", func(m *nats.Msg) {
		if err := m.Respond(append(m.Data, m.Data...)); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		m, err := c.Request("double", []byte("ab"), harness.Timeout)
		if err != nil || string(m.Data) != "abab" {
			t.Fatalf("%v, %v", m, err)
		}
	}
}

// checkJetStream keeps messages in files and reads them by a consumer that
// comes later, and keys with their history.
func checkJetStream(t *testing.T, c *nats.Conn) {
	ctx, cancel := context.WithTimeout(t.Context(), harness.Timeout)
	defer cancel()
	js, err := jetstream.New(c)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.*"}, Storage: jetstream.FileStorage})
	if err != nil {
		t.Fatal(err)
	}
	const messages = 500
	for n := range messages {
		ack, err := js.Publish(ctx, "orders.new", fmt.Append(nil, "order ", n))
		if err != nil || ack.Sequence != uint64(n+1) {
			t.Fatalf("publish %d: %+v, %v", n, ack, err)
		}
	}
	consumer, err := s.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: "later", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	for n := range messages {
		m, err := consumer.Next()
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprint("order ", n); string(m.Data()) != want {
			t.Fatalf("got %q, want %q", m.Data(), want)
		}
		if err := m.Ack(); err != nil {
			t.Fatal(err)
		}
	}
	kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "settings", History: 5, Storage: jetstream.FileStorage})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		if _, err := kv.PutString(ctx, "mode", fmt.Sprint(n)); err != nil {
			t.Fatal(err)
		}
	}
	if e, err := kv.Get(ctx, "mode"); err != nil || string(e.Value()) != "2" {
		t.Errorf("key: %v, %v", e, err)
	}
	if h, err := kv.History(ctx, "mode"); err != nil || len(h) != 3 {
		t.Errorf("history of %d, %v", len(h), err)
	}
}
