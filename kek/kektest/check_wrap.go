package kektest

import (
	"bytes"
	"fmt"
	"strings"
	"sync"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
)

func checkURI(s *suite) {
	uri := s.kek.URI()
	if !keyctx.ValidURI(uri) {
		s.Errorf("URI %.100q is not 1 to %d bytes of printable ASCII without space", uri, keyctx.MaxURILen)
	}
	if strings.HasPrefix(uri, "vault-key:") {
		s.Errorf("URI %q starts with vault-key:, which is the vault's own", uri)
	}
	s.mustOpen(s.kek, s.mustWrap(s.kek))
	if again := s.kek.URI(); again != uri {
		s.Errorf("URI was %q and is %q", uri, again)
	}
}

func checkURIPeer(s *suite) {
	if got, want := s.h.Peer(s, s.kek).URI(), s.kek.URI(); got != want {
		s.Errorf("the same key opened again has the URI %q, want %q", got, want)
	}
}

func checkURIAnother(s *suite) {
	if got := s.h.Another(s).URI(); got == s.kek.URI() {
		s.Errorf("two keys have the URI %q", got)
	}
}

func checkRoundTrip(s *suite) {
	for _, key := range [][]byte{s.key, make([]byte, 32), bytes.Repeat([]byte{0xff}, 32), random(32)} {
		wrapped := s.mustWrapKey(s.kek, key, s.binding)
		s.mustOpenKey(s.kek, wrapped, s.binding, key)
		s.mustOpenKey(s.kek, wrapped, s.binding, key) // more than once
	}
	for purpose := keyctx.PurposeData; purpose.Valid(); purpose++ {
		b := s.binding
		b.Purpose, b.Version = purpose, 0xfffffffe
		s.mustOpenKey(s.kek, s.mustWrapKey(s.kek, s.key, b), b, s.key)
	}
}

func checkConceals(s *suite) {
	if leaks(string(s.mustWrap(s.kek)), s.key) {
		s.Error("the wrapped bytes have the key in them")
	}
}

func checkFresh(s *suite) {
	if bytes.Equal(s.mustWrap(s.kek), s.mustWrap(s.kek)) {
		s.Error("the same key wrapped twice gives the same bytes")
	}
}

// checkFormat can't know what a format byte means; it can see that there is one
// that doesn't come of encryption.
func checkFormat(s *suite) {
	first := s.mustWrap(s.kek)[0]
	for range 4 {
		if got := s.mustWrap(s.kek)[0]; got != first {
			s.Fatalf("the first byte is 0x%02x and then 0x%02x: no format byte", first, got)
		}
	}
}

// checkOddKeys: only keys of 32 bytes must be wrapped; others are refused or
// wrapped truly.
func checkOddKeys(s *suite) {
	for _, key := range [][]byte{nil, {}, random(1), random(16), random(31), random(33), random(64)} {
		wrapped, err := s.wrap(s.Context(), s.kek, key, s.binding)
		if err != nil {
			continue
		}
		got, err := s.unwrap(s.Context(), s.kek, wrapped, s.binding)
		if err == nil && !bytes.Equal(got, key) {
			s.Errorf("a key of %d bytes was wrapped and unwraps as %d others", len(key), len(got))
		}
	}
}

func checkPeer(s *suite) {
	peer := s.h.Peer(s, s.kek)
	s.mustOpen(peer, s.mustWrap(s.kek))
	s.mustOpen(s.kek, s.mustWrap(peer))
}

func checkRotation(s *suite) {
	uri, old := s.kek.URI(), s.mustWrap(s.kek)
	s.h.Rotate(s, s.kek)
	s.mustOpen(s.kek, old)
	s.mustOpen(s.kek, s.mustWrap(s.kek))
	if got := s.kek.URI(); got != uri {
		s.Errorf("rotation changed the URI from %q to %q", uri, got)
	}
	if s.h.Peer != nil {
		peer := s.h.Peer(s, s.kek)
		s.mustOpen(peer, old)
		s.mustOpen(peer, s.mustWrap(s.kek))
	}
}

// largeContext is the largest context there is: every pair of a caller's as
// long as may be, and a namespace.
func largeContext() keyctx.KeyContext {
	kc := keyctx.KeyContext{keyctx.ReservedNamespace: strings.Repeat("n", keyctx.MaxValueLen)}
	for i := range keyctx.MaxPairs {
		key := fmt.Sprintf("%0*d", keyctx.MaxKeyLen, i)
		kc[key] = strings.Repeat("é", keyctx.MaxValueLen/2-2) + fmt.Sprintf("%04d", i)
	}
	return kc
}

func checkLargeContext(s *suite) {
	b := s.bindingOf(largeContext())
	wrapped := s.mustWrapKey(s.kek, s.key, b)
	s.mustOpenKey(s.kek, wrapped, b, s.key)
	other := b.Context.Clone()
	other[keyctx.ReservedNamespace] = "another"
	c := s.bindingOf(other)
	c.KeyID = b.KeyID
	s.wantCorrupt("a large context, one value changed", wrapped, c)
}

func checkReservedPairs(s *suite) {
	for _, kc := range []keyctx.KeyContext{
		{keyctx.ReservedScope: keyctx.ScopeGlobal},
		{keyctx.ReservedSystem: "audit", keyctx.ReservedNamespace: "billing"},
		{"organization_id": "org_01", keyctx.ReservedIndex: "2"},
	} {
		b := s.bindingOf(kc)
		s.mustOpenKey(s.kek, s.mustWrapKey(s.kek, s.key, b), b, s.key)
	}
}

// checkConcurrency wraps and unwraps many keys at once. Each must come back to
// whom it belongs; data races are the race detector's to find.
func checkConcurrency(s *suite) {
	workers, rounds := 16, 20
	if s.h.Costly {
		workers, rounds = 4, 4
	}
	var wg sync.WaitGroup
	for i := range workers {
		b := s.bindingOf(keyctx.KeyContext{"organization_id": fmt.Sprintf("org-number-%06d", i)})
		wg.Go(func() {
			for range rounds {
				if err := s.roundTrip(b, random(32)); err != nil {
					s.Errorf("at once with others: %v", err) // Errorf may be called from any goroutine
					return
				}
			}
		})
	}
	wg.Wait()
}

func (s *suite) roundTrip(b kek.Binding, key []byte) error {
	wrapped, err := s.wrap(s.Context(), s.kek, key, b)
	if err != nil {
		return err
	}
	got, err := s.unwrap(s.Context(), s.kek, wrapped, b)
	if err == nil && !bytes.Equal(got, key) {
		err = fmt.Errorf("unwrap returned another key")
	}
	return err
}
