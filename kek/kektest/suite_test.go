package kektest

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
)

// The suite itself is tested here: a good KEK passes every check, and for every
// check there is a broken one that fails it. Each broken KEK is a memkek with
// one fault, of those that drivers really have.

// losePatience lets KEKs that don't return cost less.
func losePatience(t *testing.T) {
	was := patience
	patience = 100 * time.Millisecond
	t.Cleanup(func() { patience = was })
}

func TestGoodKEKPasses(t *testing.T) {
	good := breakage{build: func(k *memkek.KEK) kek.Wrapper { return k }}
	for _, costly := range []bool{false, true} {
		h := good.harness()
		h.Costly = costly
		for _, c := range checks {
			r := record(t, c, h)
			if r.Failed() || r.Skipped() {
				t.Errorf("check %q: failed %v, skipped %v:\n%s", c.name, r.Failed(), r.Skipped(), strings.Join(r.log, "\n"))
			}
		}
	}
	Run(t, good.harness()) // and through the front door
}

func TestHarnessWithNewAlonePasses(t *testing.T) {
	h := Harness{New: func(testing.TB) kek.Wrapper { return memkek.New("a") }}
	for _, c := range checks {
		r := record(t, c, h)
		if r.Failed() {
			t.Errorf("check %q failed:\n%s", c.name, strings.Join(r.log, "\n"))
		}
		if want := c.needs != nil; r.Skipped() != want {
			t.Errorf("check %q: skipped %v, want %v", c.name, r.Skipped(), want)
		}
	}
}

func TestBrokenKEKsFail(t *testing.T) {
	losePatience(t)
	caught := map[string]bool{}
	for _, b := range breakages {
		t.Run(b.name, func(t *testing.T) {
			for _, name := range b.failed {
				caught[name] = true
				at := slices.IndexFunc(checks, func(c check) bool { return c.name == name })
				if at < 0 {
					t.Fatalf("there is no check %q", name)
				}
				if r := record(t, checks[at], b.harness()); !r.Failed() {
					t.Errorf("check %q passed (skipped: %v)", name, r.Skipped())
				}
			}
		})
	}
	for _, c := range checks {
		if !caught[c.name] {
			t.Errorf("no broken KEK shows that check %q can fail", c.name)
		}
	}
}

// Costly must not make the suite blind.
func TestBrokenKEKsFailWhenSampled(t *testing.T) {
	losePatience(t)
	for _, b := range breakages {
		h := b.harness()
		h.Costly = true
		failed := slices.ContainsFunc(checks, func(c check) bool { return record(t, c, h).Failed() })
		if !failed && !b.needsAll {
			t.Errorf("%s: passed", b.name)
		}
	}
}

func TestLeaks(t *testing.T) {
	secret := []byte{0x00, 0x1f, 'a', 'b', 0xc3, 0x28, 0xff, '"', '\\', 0x7f, 0x80, 0x81}
	for _, text := range []string{
		string(secret), string(secret[3:9]), "key 001f6162c328", "KEY 1F6162C328FF", "00 1f 61 62 c3 28",
		"[0 31 97 98 195 40]", "[]byte{0x0, 0x1f, 0x61, 0x62, 0xc3, 0x28}", "AB9hYsMo", `"\x00\x1fab\xc3("`,
		base64.StdEncoding.EncodeToString(slices.Concat([]byte{1}, secret)),
		base64.RawURLEncoding.EncodeToString(slices.Concat([]byte{1, 2}, secret)),
	} {
		if !leaks(text, secret) {
			t.Errorf("%q is not seen as a leak", text)
		}
	}
	for _, text := range []string{"", "unwrap of 61 bytes with mem:a", "001f6162c3", "[0 31 97 98 195]"} {
		if leaks(text, secret) {
			t.Errorf("%q is taken for a leak", text)
		}
	}
	if leaks("anything", nil) {
		t.Error("nothing is leaked")
	}
}
