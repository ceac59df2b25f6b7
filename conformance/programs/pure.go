package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/csv"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"encoding/xml"
	"fmt"
	"hash/crc32"
	"html/template"
	"io"
	"log/slog"
	"math"
	"math/big"
	mathrand "math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	texttemplate "text/template"
	"time"
)

type planet struct {
	Name  string            `json:"name" xml:"name,attr"`
	Moons []string          `json:"moons,omitempty" xml:"moon"`
	Mass  float64           `json:"mass"`
	Notes map[string]string `json:"notes,omitempty" xml:"-"`
}

var mars = planet{"Mars", []string{"Phobos", "Deimos"}, 6.417e23, map[string]string{"colour": "red <&>"}}

func codecs() {
	show("json", string(must(json.Marshal(mars))))
	var back planet
	show("json error", json.Unmarshal([]byte(`{"mass": "heavy"}`), &back))
	show("xml", string(must(xml.Marshal(mars))))
	var b bytes.Buffer
	check(gob.NewEncoder(&b).Encode(mars))
	check(gob.NewDecoder(&b).Decode(&back))
	show("gob", back)
	w := csv.NewWriter(os.Stdout)
	check(w.WriteAll([][]string{{"a", "b,c", `d"e`}, {"1", "2", "3"}}))
	show("hex", hex.EncodeToString([]byte("pith")), base64.StdEncoding.EncodeToString([]byte("pith")))
	show("binary", must(binary.Append(nil, binary.BigEndian, struct {
		A uint16
		B int64
	}{1, -2})))
	show("pem", strings.ReplaceAll(string(pem.EncodeToMemory(&pem.Block{Type: "TEST", Bytes: []byte("x")})), "\n", "/"))

	text := []byte(strings.Repeat("all work and no play ", 500))
	for _, c := range []struct {
		name  string
		write func(io.Writer) io.WriteCloser
		read  func(io.Reader) io.Reader
	}{
		{"gzip", func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }, func(r io.Reader) io.Reader { return must(gzip.NewReader(r)) }},
		{"zlib", func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }, func(r io.Reader) io.Reader { return must(zlib.NewReader(r)) }},
		{"flate", func(w io.Writer) io.WriteCloser { return must(flate.NewWriter(w, 9)) }, func(r io.Reader) io.Reader { return flate.NewReader(r) }},
	} {
		b.Reset()
		z := c.write(&b)
		must(z.Write(text))
		check(z.Close())
		size := b.Len()
		show(c.name, size, bytes.Equal(must(io.ReadAll(c.read(&b))), text))
	}
	b.Reset()
	t := tar.NewWriter(&b)
	check(t.WriteHeader(&tar.Header{Name: "f", Size: 4, Mode: 0o644, ModTime: time.Unix(1e9, 0)}))
	must(t.Write([]byte("data")))
	check(t.Close())
	show("tar", fmt.Sprintf("%x", sha256.Sum256(b.Bytes())))
	b.Reset()
	z := zip.NewWriter(&b)
	must(must(z.Create("in/zip")).Write(text))
	check(z.Close())
	show("zip", b.Len(), must(zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))).File[0].Name)
	logger := slog.New(slog.NewJSONHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	logger.Info("logged", "planet", mars.Name, slog.Group("size", "km", 6779))
}

// cryptography includes what is written in assembly and chosen by CPUID.
func cryptography() {
	text := []byte(strings.Repeat("attack at dawn; ", 1000))
	show("md5", fmt.Sprintf("%x", md5.Sum(text)))
	show("sha1", fmt.Sprintf("%x", sha1.Sum(text)))
	show("sha256", fmt.Sprintf("%x", sha256.Sum256(text)))
	show("sha512", fmt.Sprintf("%x", sha512.Sum512(text)))
	show("crc", crc32.ChecksumIEEE(text), crc32.Checksum(text, crc32.MakeTable(crc32.Castagnoli)))
	mac := hmac.New(sha256.New, []byte("key"))
	must(mac.Write(text))
	show("hmac", fmt.Sprintf("%x", mac.Sum(nil)))
	block := must(aes.NewCipher(text[:32]))
	seal := must(cipher.NewGCM(block))
	sealed := seal.Seal(nil, text[:12], text, nil)
	show("gcm", fmt.Sprintf("%x", sha256.Sum256(sealed)), bytes.Equal(must(seal.Open(nil, text[:12], sealed, nil)), text))
	sealed[0] ^= 1
	show("tampered", second(seal.Open(nil, text[:12], sealed, nil)))
	key := ed25519.NewKeyFromSeed(text[:32])
	show("ed25519", fmt.Sprintf("%x", ed25519.Sign(key, text)[:16]))
	curve := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	sum := sha256.Sum256(text)
	show("ecdsa", ecdsa.VerifyASN1(&curve.PublicKey, sum[:], must(ecdsa.SignASN1(rand.Reader, curve, sum[:]))))
	pair := must(rsa.GenerateKey(rand.Reader, 2048))
	show("rsa", string(must(rsa.DecryptOAEP(sha256.New(), nil, pair, must(rsa.EncryptOAEP(sha256.New(), rand.Reader, &pair.PublicKey, []byte("secret"), nil)), nil))))
}

func numbers() {
	x := 0.1
	for range 50 {
		x = math.FMA(x, 3.7*(1-x), 0) // chaotic: any difference in rounding shows
	}
	show("float", strconv.FormatFloat(x, 'x', -1, 64), math.Sqrt(2), math.Exp(1), math.Sin(1e6), math.Pow(2, 0.5))
	show("special", math.Inf(1)-math.Inf(1), math.Copysign(0, -1), math.MaxInt64)
	f := new(big.Int).MulRange(1, 200)
	show("factorial", fmt.Sprintf("%x", sha256.Sum256(f.Bytes())))
	show("prime", new(big.Int).Exp(big.NewInt(2), big.NewInt(521), nil).Sub(new(big.Int).Lsh(big.NewInt(1), 521), big.NewInt(1)).ProbablyPrime(5))
	r := mathrand.New(mathrand.NewPCG(1, 2))
	show("random", r.IntN(1000), r.Float64(), r.Perm(5))
	list := r.Perm(10_000)
	slices.Sort(list)
	show("sorted", slices.IsSorted(list), list[1234])
	show("regexp", regexp.MustCompile(`(\w+)@(\w+)\.com`).ReplaceAllString("bob@example.com", "$2: $1"))
	show("parse", second(strconv.Atoi("12x")), must(strconv.ParseFloat("1e-7", 64)))
}

func templates() {
	page := template.Must(template.New("page").Funcs(template.FuncMap{"upper": strings.ToUpper}).Parse(
		`<h1 title="{{.Name}}">{{.Name | upper}}</h1>{{range $i, $m := .Moons}}<li>{{$i}}: {{$m}}{{end}}<script>var n = {{.Notes}}</script>` + "\n"))
	check(page.Execute(os.Stdout, mars))
	text := texttemplate.Must(texttemplate.New("text").Parse(`{{with .Notes}}{{index . "colour"}}{{end}} {{printf "%.2e" .Mass}}` + "\n"))
	check(text.Execute(os.Stdout, mars))
	show("error", second(texttemplate.New("bad").Parse("{{.Open")))
	show("missing", text.Execute(io.Discard, 5))
}

func zones() {
	when := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	for _, name := range []string{"UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia"} {
		zone := must(time.LoadLocation(name))
		show(name, when.In(zone).Format(time.RFC1123Z), when.AddDate(0, 6, 0).In(zone).IsDST())
	}
	show("missing", second(time.LoadLocation("Mars/Olympus")))
	show("gap", time.Date(2026, 3, 29, 2, 30, 0, 0, must(time.LoadLocation("Europe/Berlin"))))
	show("parse", must(time.Parse(time.RFC3339, "2026-02-28T23:59:59+01:00")))
	show("duration", must(time.ParseDuration("1h2m3.5s")))
}
