// Command sensor takes readings and sends them to a collector: in line protocol
// over UDP, or as JSON over HTTP. It keeps readings that it could not send and
// retries. Before it ends, it sends what is left.
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
	jitter := flag.Float64("jitter", 0.1, "random variation of that time, as a fraction from 0 to 1, so that a fleet does not send in step")
	count := flag.Int("count", 0, "number of readings to take; 0 for no limit")
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
		log.Fatalf("cannot send %d readings: %v", outbox.Len(), err)
	}
	log.Printf("%d readings sent, %d lost", outbox.Sent(), outbox.Lost())
}

// measure takes count readings by the schedule and sends them, until ctx ends.
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
				continue // do not send before the backoff is over
			}
		case <-retry.C:
		}
		if err := outbox.Flush(ctx); err != nil {
			wait := backoff.Failed()
			log.Printf("%d readings are waiting, next try in %v: %v", outbox.Len(), wait.Round(time.Millisecond), err)
			retry.Reset(wait)
			continue
		}
		backoff.Succeeded()
	}
}
