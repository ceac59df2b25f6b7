package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"
)

// Reading is one measurement.
type Reading struct {
	Sensor  string    `json:"sensor"`
	Seq     int       `json:"seq"`
	Time    time.Time `json:"time"`
	Celsius float64   `json:"celsius"`
}

// tagEscaper escapes a tag value for InfluxDB's line protocol.
var tagEscaper = strings.NewReplacer(",", `\,`, "=", `\=`, " ", `\ `)

// Line returns the reading in InfluxDB's line protocol, without a newline.
func (r Reading) Line() string {
	return fmt.Sprintf("temperature,sensor=%s celsius=%.2f,seq=%di %d",
		tagEscaper.Replace(r.Sensor), r.Celsius, r.Seq, r.Time.UnixNano())
}

// Thermometer is a source of readings. It simulates a room whose temperature
// follows the time of day and drifts.
type Thermometer struct {
	name  string
	seq   int
	drift float64
}

// NewThermometer returns a thermometer. name identifies its readings.
func NewThermometer(name string) *Thermometer { return &Thermometer{name: name} }

// Read takes a reading.
func (t *Thermometer) Read(now time.Time) Reading {
	t.seq++
	t.drift = 0.99*t.drift + 0.1*rand.NormFloat64()
	day := 2 * math.Pi * float64(now.Unix()%86400) / 86400
	return Reading{
		Sensor:  t.name,
		Seq:     t.seq,
		Time:    now,
		Celsius: math.Round((20-3*math.Cos(day)+t.drift)*100) / 100,
	}
}

// Schedule defines when readings are taken.
type Schedule struct {
	Every  time.Duration
	Jitter float64 // variation of a pause, as a fraction of Every
}

// Next returns the pause before the next reading.
func (s Schedule) Next() time.Duration {
	return time.Duration(float64(s.Every) * (1 + s.Jitter*(2*rand.Float64()-1)))
}

// Backoff computes the pause between retries. It doubles with each failure. It
// is also random: when a collector is back, not all sensors return at once.
type Backoff struct {
	Min, Max time.Duration
	next     time.Duration // 0: the last try succeeded
}

// Waiting reports whether the last try failed.
func (b *Backoff) Waiting() bool { return b.next > 0 }

// Succeeded resets the pause.
func (b *Backoff) Succeeded() { b.next = 0 }

// Failed returns the pause before the next try. Half of it is random.
func (b *Backoff) Failed() time.Duration {
	b.next = min(max(2*b.next, b.Min), b.Max)
	return b.next/2 + rand.N(b.next/2+1)
}
