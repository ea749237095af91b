package boltstore_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/boltstore"
)

// filled makes a database with some thousand pages and returns its bytes.
func filled(t *testing.T) []byte {
	t.Helper()
	path := newPath(t)
	s := open(t, path)
	cs := benchTenants(20)
	for i := range 400 {
		if _, err := s.PutObject(t.Context(), benchRecord(cs[i%len(cs)], i/2, bytes.Repeat([]byte{byte(i)}, 3000)), storage.PutGuard{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// use does a bit of everything with a store that may be damaged, and reports
// errors that are not about the damage.
func use(t *testing.T, s *boltstore.Store) {
	ctx := t.Context()
	cs := benchTenants(20)
	var errs []error
	try := func(err error) { errs = append(errs, err) }
	everything := storage.ContextFilter{All: true, AnyNamespace: true}
	for _, q := range []storage.ObjectQuery{{Contexts: everything, WithEnvelope: true}, {Contexts: everything, Order: storage.OrderByUpdated}, {Contexts: storage.ContextFilter{All: true}, Descending: true}} {
		page, err := s.ListObjects(ctx, q)
		try(err)
		for _, r := range page.Objects {
			_, err := s.ListVersions(ctx, storage.VersionQuery{Object: r.ID, WithEnvelope: true})
			try(err)
		}
	}
	for i := range 40 {
		_, err := s.PutObject(ctx, benchRecord(cs[i%len(cs)], i, make([]byte, 2000)), storage.PutGuard{Keep: 1})
		try(err)
		_, err = s.GetObject(ctx, storage.ObjectRef{ContextHash: cs[i%len(cs)].hash, Name: benchName(i)})
		if !errors.Is(err, storage.ErrNotFound) {
			try(err)
		}
		_, err = s.DeleteObject(ctx, storage.ObjectRef{ContextHash: cs[i%len(cs)].hash, Name: benchName(i)}, storage.ID{})
		if !errors.Is(err, storage.ErrNotFound) {
			try(err)
		}
	}
	for _, err := range errs {
		if err != nil && !errors.Is(err, storage.ErrCorrupt) && !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("an error that doesn't say what is wrong: %v", err)
		}
	}
}

// TestDamagedFile overwrites parts of the file with all kinds of things and
// wants errors, not a crash: neither a panic, nor a fault, nor a hang.
func TestDamagedFile(t *testing.T) {
	t.Parallel()
	whole := filled(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for round := range 24 {
		b := bytes.Clone(whole)
		for range 1 + rnd.IntN(20) {
			at, n := rnd.IntN(len(b)), 1+rnd.IntN(300)
			for i := at; i < min(at+n, len(b)); i++ {
				switch round % 3 {
				case 0:
					b[i] = byte(rnd.Uint32())
				case 1:
					b[i] = 0
				default:
					b[i] = 0xff
				}
			}
		}
		path := newPath(t)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			s, err := boltstore.Open(path)
			if err != nil {
				if !errors.Is(err, storage.ErrCorrupt) && !errors.Is(err, boltstore.ErrForeign) && !errors.Is(err, boltstore.ErrNewerSchema) {
					t.Errorf("round %d: open: %v", round, err)
				}
				return
			}
			use(t, s)
			_ = s.Close() // it may well complain
		}()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatalf("round %d: it hangs", round)
		}
	}
}
