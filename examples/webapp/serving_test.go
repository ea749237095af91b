package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/embedvault/vault"
)

// testConcurrentTenants has both organisations pay while they replace their accounts
// and keys. Each payment must be made with the key of the account it says, and with
// the payer's own: the bank refuses others.
func testConcurrentTenants(t *testing.T, w *world) {
	const replaced, payers, payments = 6, 4, 6
	var wg sync.WaitGroup
	for name, c := range map[string]caller{"acme": w.acme, "globex": w.globex} {
		c.connect(t, "acct_"+name, "sk_"+name)
		wg.Go(func() {
			for i := range replaced {
				c.connect(t, fmt.Sprintf("acct_%s_%d", name, i), fmt.Sprintf("sk_%s_%d", name, i))
			}
		})
		for p := range payers {
			wg.Go(func() {
				for i := range payments {
					c.pay(t, http.StatusCreated, fmt.Sprintf("%s-%d-%d", name, p, i))
				}
			})
		}
	}
	wg.Wait()
	if n := len(w.bank.taken()); n != 2*payers*payments {
		t.Errorf("%d payments were made", n)
	}
	for _, c := range w.bank.taken() {
		payer, _, _ := strings.Cut(c.id, "-")
		if !strings.HasPrefix(c.key, "sk_"+payer) || !strings.HasPrefix(c.account, "acct_"+payer) {
			t.Errorf("%s was paid with %s", c.id, c.key)
		}
	}
}

// testReplacedOften replaces one organisation's key many times at once: none fails,
// though their transactions are in each other's way.
func testReplacedOften(t *testing.T, w *world) {
	const writers, each = 4, 3
	var wg sync.WaitGroup
	for i := range writers {
		key := fmt.Sprintf("sk_acme_%d", i)
		w.bank.open("acct_acme", key)
		wg.Go(func() {
			for range each {
				w.acme.want(t, http.StatusOK, "PUT", "/integration", connectBody("acct_acme", key))
			}
		})
	}
	wg.Wait()
	meta, err := w.app.tenant("acme").secrets.Describe(t.Context(), apiKey)
	noError(t, err)
	if meta.Number != writers*each {
		t.Errorf("the last version is %d", meta.Number)
	}
	w.acme.pay(t, http.StatusCreated, "p1")
}

// testRotateWhileServing rotates the organisation's key while it pays.
func testRotateWhileServing(t *testing.T, w *world) {
	w.acme.connect(t, "acct_acme", "sk_acme")
	var wg sync.WaitGroup
	stop := make(chan struct{})
	end := sync.OnceFunc(func() {
		close(stop)
		wg.Wait()
	})
	defer end()
	for p := range 2 {
		wg.Go(func() {
			for i := 0; !closed(stop); i++ {
				w.acme.pay(t, http.StatusCreated, fmt.Sprintf("p-%d-%d", p, i))
			}
		})
	}
	acme := w.app.tenant("acme").secrets
	sealedBy := map[vault.KeyID]bool{}
	for i := range 3 {
		w.acme.connect(t, "acct_acme", fmt.Sprintf("sk_acme_%d", i))
		meta, err := acme.Describe(t.Context(), apiKey)
		noError(t, err)
		sealedBy[meta.KeyID] = true
		noError(t, acme.Rotate(t.Context()))
	}
	end()
	if len(sealedBy) != 3 {
		t.Errorf("%d keys were used", len(sealedBy))
	}
	w.acme.pay(t, http.StatusCreated, "afterwards")
	if len(w.bank.taken()) < 3 {
		t.Error("nobody paid meanwhile")
	}
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// testRestart stops the application, and starts it with what is on disk.
func testRestart(t *testing.T, w *world) {
	w.acme.connect(t, "acct_acme", "sk_acme_1")
	w.globex.connect(t, "acct_globex", "sk_globex_1")
	noError(t, w.app.tenant("acme").secrets.Rotate(t.Context())) // what is stored is under the version before
	w.stop()
	w.wantNothingInClear(t)

	w.start(t)
	w.acme.pay(t, http.StatusCreated, "p1")
	w.globex.pay(t, http.StatusCreated, "p1")
	w.acme.connect(t, "acct_acme", "sk_acme_2")
	w.stop()

	noError(t, os.Rename(filepath.Join(w.cfg.dir, "root-keyset.json"), filepath.Join(w.cfg.dir, "away")))
	w.start(t) // with a root key that it has made
	w.acme.pay(t, http.StatusInternalServerError, "p2")
	if n := w.rows(t, `SELECT count(*) FROM payments WHERE id = 'p2'`); n != 0 {
		t.Error("a payment without a key")
	}
	w.stop()

	w.cfg.keyset = filepath.Join(w.cfg.dir, "away")
	w.start(t)
	w.acme.pay(t, http.StatusCreated, "p2")
	w.stop()
	w.cfg.keyset = filepath.Join(w.cfg.dir, "nowhere")
	if _, err := newApp(t.Context(), w.cfg); err == nil {
		t.Error("a keyset that isn't there was taken")
	}
}

// wantNothingInClear looks into the database's files.
func (w *world) wantNothingInClear(t *testing.T) {
	t.Helper()
	files, err := os.ReadDir(w.cfg.dir)
	noError(t, err)
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(w.cfg.dir, f.Name()))
		noError(t, err)
		for _, s := range append(w.bank.keys, w.acme.token, w.globex.token) {
			if bytes.Contains(data, []byte(s)) {
				t.Errorf("%s has %s", f.Name(), s)
			}
		}
		if w.cfg.databaseURL == "" && f.Name() == "app.db" && !bytes.Contains(data, []byte("acct_acme")) {
			t.Error("the account isn't in app.db: this looks into the wrong file")
		}
	}
}

// testTwoProcesses wants each of two to see what the other has stored and rotated.
func testTwoProcesses(t *testing.T, w *world) {
	w.acme.connect(t, "acct_acme", "sk_acme_1")
	w.acme.pay(t, http.StatusCreated, "p1")
	first := w.url
	w.start(t)
	w.acme.pay(t, http.StatusCreated, "p2")
	noError(t, w.app.tenant("acme").secrets.Rotate(t.Context()))
	w.acme.connect(t, "acct_acme", "sk_acme_2")
	second := w.url
	if first == second {
		t.Fatal("there is one process")
	}
	w.url = first
	w.acme.pay(t, http.StatusCreated, "p3")
	if got, want := w.bank.taken()[2], (charge{"sk_acme_2", "acct_acme", "p3"}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}
