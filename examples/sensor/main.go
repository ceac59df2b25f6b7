// Command sensor takes readings and sends them to a collector: as line
// protocol over UDP, or as JSON over HTTP. What could not be sent is kept and
// tried again; what is left at the end is sent before it ends.
package main

import (
	"context"
	"flag"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	to := flag.String("to", "", "collector: udp://HOST:PORT or http://HOST:PORT/PATH")
	name := flag.String("name", "sensor", "name of this sensor")
	every := flag.Duration("every", time.Second, "time between readings")
	jitter := flag.Float64("jitter", 0.1, "part of that time by which it varies, 0 to 1, so that a fleet does not send at once")
	count := flag.Int("count", 0, "end after so many readings; 0: never")
	flag.Parse()

	sender, err := NewSender(*to)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	outbox := NewOutbox(sender, 10_000)
	measure(ctx, outbox, NewThermometer(*name), Schedule{*every, *jitter}, *count)

	final, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := outbox.Flush(final); err != nil {
		log.Fatalf("%d readings were not sent: %v", outbox.Len(), err)
	}
	log.Printf("%d readings sent, %d lost", outbox.Sent(), outbox.Lost())
}

// measure takes count readings by the schedule and has them sent, until ctx
// ends.
func measure(ctx context.Context, outbox *Outbox, source *Thermometer, s Schedule, count int) {
	backoff := Backoff{Min: 100 * time.Millisecond, Max: 10 * time.Second}
	next := time.NewTimer(0)
	retry := time.NewTimer(0)
	for taken := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
			outbox.Add(source.Read(time.Now()))
			if taken++; taken == count {
				return
			}
			next.Reset(s.Next())
			if backoff.Waiting() {
				continue // the collector is being spared
			}
		case <-retry.C:
		}
		if err := outbox.Flush(ctx); err != nil {
			wait := backoff.Failed()
			log.Printf("%d readings wait, next try in %v: %v", outbox.Len(), wait.Round(time.Millisecond), err)
			retry.Reset(wait)
			continue
		}
		backoff.Succeeded()
	}
}
