// Command chat is a websocket chat: what one member says, all in the room
// hear.
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"net/http"
	"os"
	"os/signal"
	"sync"

	"github.com/coder/websocket"
)

// room is who is there: a queue of messages for each.
type room struct {
	mu      sync.Mutex
	members map[chan []byte]struct{}
}

func (r *room) enter() chan []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	queue := make(chan []byte, 64)
	r.members[queue] = struct{}{}
	return queue
}

func (r *room) leave(queue chan []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.members, queue)
}

// say queues a message for all; who does not listen misses it.
func (r *room) say(message []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for queue := range r.members {
		select {
		case queue <- message:
		default:
		}
	}
}

func (r *room) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	c, err := websocket.Accept(w, req, nil)
	if err != nil {
		log.Print(err)
		return
	}
	defer c.CloseNow()
	queue := r.enter()
	defer r.leave(queue)
	ctx, cancel := context.WithCancel(req.Context())
	defer cancel()
	go func() {
		defer cancel()
		for {
			_, message, err := c.Read(ctx)
			if err != nil {
				return
			}
			r.say(append([]byte(req.URL.Query().Get("name")+": "), message...))
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case message := <-queue:
			if err := c.Write(ctx, websocket.MessageText, message); err != nil {
				return
			}
		}
	}
}

func main() {
	addr := flag.String("addr", ":80", "address to listen on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	server := &http.Server{Addr: *addr, Handler: &room{members: make(map[chan []byte]struct{})}}
	context.AfterFunc(ctx, func() { log.Print(server.Close()) })
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}
