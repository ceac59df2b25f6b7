package apps

import (
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"

	"github.com/pith-os/pith/conformance/harness"
)

func TestChiShop(t *testing.T) {
	harness.Serve(t, server("./shop"), 0, func(t *testing.T, i *harness.Instance) {
		base := "http://" + i.Addr("80")
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Jar: jar}
		list, err := answer(client.Get(base + "/")) // compressed on its way
		if err != nil || !strings.Contains(list, "&lt;Bast&gt;: 12.50 €") {
			t.Errorf("list: %q, %v", list, err)
		}
		for _, id := range []string{"2", "3", "2"} {
			if _, err := answer(client.Post(base+"/basket/"+id, "", nil)); err != nil {
				t.Error(err)
			}
		}
		basket, err := answer(client.Get(base + "/basket/"))
		if err != nil || !strings.Contains(basket, "<p>3 articles</p>") || !strings.Contains(basket, "Pith &amp; bark") {
			t.Errorf("basket: %q, %v", basket, err)
		}
		if other, err := request("GET", base+"/basket/", ""); err != nil || !strings.Contains(other, "Nothing yet") {
			t.Errorf("another visitor's basket: %q, %v", other, err)
		}
		expect(t, "GET", base+"/static/style.css", "", "h1 { color: #363; }\n")
		refused(t, "GET", base+"/static/none", "404")
		refused(t, "POST", base+"/basket/99", "no such article")
		refused(t, "POST", base+"/basket/x", "404")
		refused(t, "GET", base+"/panic", "500")
	})
}
