// Command shop is a web application with chi: routes, middleware, embedded
// templates and static files, forms and sessions by cookie.
package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"html/template"
	"io/fs"
	"log"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
)

//go:embed web
var web embed.FS

// article is what the shop sells.
type article struct {
	ID    int
	Name  string
	Cents int
}

// Price is in euros.
func (a article) Price() string { return strconv.FormatFloat(float64(a.Cents)/100, 'f', 2, 64) }

var articles = []article{{1, "Elder wood", 250}, {2, "Pith & bark", 999}, {3, "<Bast>", 1250}}

// shop holds what is in each visitor's basket.
type shop struct {
	pages *template.Template

	mu      sync.Mutex
	next    int
	baskets map[string][]article
}

func main() {
	addr := flag.String("addr", ":80", "address to listen on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	s := &shop{
		pages:   template.Must(template.ParseFS(web, "web/*.html")),
		baskets: make(map[string][]article),
	}
	server := &http.Server{Addr: *addr, Handler: s.routes()}
	context.AfterFunc(ctx, func() { log.Print(server.Close()) })
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

func (s *shop) routes() http.Handler {
	static, err := fs.Sub(web, "web/static")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	r := chi.NewRouter()
	r.Use(middleware.RequestID, middleware.Recoverer, middleware.Timeout(10*time.Second), middleware.Compress(5))
	r.Get("/", func(w http.ResponseWriter, r *http.Request) { s.render(w, "list.html", articles) })
	r.Route("/basket", func(r chi.Router) {
		r.Get("/", s.showBasket)
		r.Post("/{id:[0-9]+}", s.addToBasket)
	})
	r.Get("/panic", func(http.ResponseWriter, *http.Request) { panic("on purpose") })
	r.Handle("/static/*", http.StripPrefix("/static/", http.FileServerFS(static)))
	return r
}

func (s *shop) render(w http.ResponseWriter, page string, data any) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := s.pages.ExecuteTemplate(w, page, data); err != nil {
		log.Print(err)
	}
}

func (s *shop) showBasket(w http.ResponseWriter, r *http.Request) {
	var basket []article
	if c, err := r.Cookie("visitor"); err == nil {
		s.mu.Lock()
		basket = slices.Clone(s.baskets[c.Value])
		s.mu.Unlock()
	}
	s.render(w, "basket.html", basket)
}

func (s *shop) addToBasket(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.Atoi(chi.URLParam(r, "id"))
	n := slices.IndexFunc(articles, func(a article) bool { return a.ID == id })
	if err != nil || n < 0 {
		http.Error(w, "no such article", http.StatusNotFound)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := r.Cookie("visitor")
	if err != nil {
		s.next++
		c = &http.Cookie{Name: "visitor", Value: strconv.Itoa(s.next), Path: "/", HttpOnly: true}
		http.SetCookie(w, c)
	}
	s.baskets[c.Value] = append(s.baskets[c.Value], articles[n])
	http.Redirect(w, r, "/basket/", http.StatusSeeOther)
}
