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

// tagEscaper escapes a tag's value as the line protocol of InfluxDB has it.
var tagEscaper = strings.NewReplacer(",", `\,`, "=", `\=`, " ", `\ `)

// Line is the reading in InfluxDB's line protocol, without a newline.
func (r Reading) Line() string {
	return fmt.Sprintf("temperature,sensor=%s celsius=%.2f,seq=%di %d",
		tagEscaper.Replace(r.Sensor), r.Celsius, r.Seq, r.Time.UnixNano())
}

// Thermometer is a source of readings: it simulates a room whose temperature
// follows the day and drifts.
type Thermometer struct {
	name  string
	seq   int
	drift float64
}

// NewThermometer makes a thermometer that signs its readings with name.
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

// Schedule says when readings are taken.
type Schedule struct {
	Every  time.Duration
	Jitter float64 // part of Every by which a pause varies
}

// Next is the pause before the next reading.
func (s Schedule) Next() time.Duration {
	return time.Duration(float64(s.Every) * (1 + s.Jitter*(2*rand.Float64()-1)))
}

// Backoff is the pause between tries: doubled with each failure, and random,
// so that sensors do not return all at once to a collector that comes back.
type Backoff struct {
	Min, Max time.Duration
	next     time.Duration // 0: the last try succeeded
}

// Waiting says whether the last try failed.
func (b *Backoff) Waiting() bool { return b.next > 0 }

// Succeeded ends the waiting.
func (b *Backoff) Succeeded() { b.next = 0 }

// Failed is the pause before the next try, half of it random.
func (b *Backoff) Failed() time.Duration {
	b.next = min(max(2*b.next, b.Min), b.Max)
	return b.next/2 + rand.N(b.next/2+1)
}
