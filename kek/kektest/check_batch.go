package kektest

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
)

// batch is one of a Batcher's two methods.
type batch struct {
	name string
	call func(ctx context.Context, items []kek.BatchItem) []kek.BatchResult
}

func (s *suite) batcher() (w kek.Batcher, both []batch) {
	s.Helper()
	w, ok := s.kek.(kek.Batcher)
	if !ok {
		s.Skip("not a Batcher")
	}
	return w, []batch{{"UnwrapBatch", w.UnwrapBatch}, {"RewrapBatch", w.RewrapBatch}}
}

// run makes the call and checks what must hold whatever comes of it.
func (s *suite) run(b batch, ctx context.Context, items []kek.BatchItem) []kek.BatchResult {
	s.Helper()
	results, err := guard(b.name, func() ([]kek.BatchResult, error) { return b.call(ctx, items), nil })
	if err != nil {
		s.Fatalf("%v", err)
	}
	if len(results) != len(items) {
		s.Fatalf("%s returned %d results for %d items", b.name, len(results), len(items))
	}
	for i, r := range results {
		s.checkResult(b.name, r.Bytes, r.Err, items[i].Binding)
		if r.Err != nil && r.Bytes != nil {
			s.Errorf("%s: item %d has bytes and an error", b.name, i)
		}
	}
	return results
}

// checkBatch: good items and bad ones in one batch don't get in each other's
// way.
func checkBatch(s *suite) {
	w, both := s.batcher()
	type want struct {
		key     []byte // nil: corrupt
		binding kek.Binding
	}
	n := 40
	if s.h.Costly {
		n = 8
	}
	items, wants := make([]kek.BatchItem, n), make([]want, n)
	for i := range n {
		key, b := random(32), s.bindingOf(keyctx.KeyContext{"organization_id": fmt.Sprint("org-", i)})
		items[i] = kek.BatchItem{Wrapped: s.mustWrapKey(w, key, b), Binding: b}
		wants[i] = want{key, b}
		switch i % 8 {
		case 3:
			items[i].Wrapped = items[i].Wrapped[:len(items[i].Wrapped)-1]
		case 5:
			items[i].Binding.Version++
		case 6:
			items[i].Wrapped = nil
		default:
			continue
		}
		wants[i].key = nil
	}
	for _, b := range both {
		if got := s.run(b, s.Context(), nil); len(got) != 0 {
			s.Errorf("%s of nothing returned %d results", b.name, len(got))
		}
		for i, r := range s.run(b, s.Context(), items) {
			switch {
			case wants[i].key == nil:
				s.wantClass(fmt.Sprintf("%s: the bad item %d", b.name, i), r.Err, kek.ErrCorrupt)
			case r.Err != nil:
				s.Errorf("%s: the good item %d: %v", b.name, i, brief(r.Err))
			case b.name == "RewrapBatch":
				s.mustOpenKey(w, r.Bytes, wants[i].binding, wants[i].key)
			case !bytes.Equal(r.Bytes, wants[i].key):
				s.Errorf("%s: item %d is another key", b.name, i)
			}
		}
		s.checkBatchCtx(b, items[:1])
	}
}

// goodItems returns n wrapped keys, and the keys.
func (s *suite) goodItems(w kek.Wrapper, n int) (items []kek.BatchItem, keys [][]byte) {
	s.Helper()
	items, keys = make([]kek.BatchItem, n), make([][]byte, n)
	for i := range n {
		keys[i] = random(32)
		b := s.bindingOf(keyctx.KeyContext{"organization_id": fmt.Sprint("org-", i)})
		items[i] = kek.BatchItem{Wrapped: s.mustWrapKey(w, keys[i], b), Binding: b}
	}
	return items, keys
}

// wantKeys checks what UnwrapBatch returned.
func (s *suite) wantKeys(results []kek.BatchResult, keys [][]byte) {
	s.Helper()
	for i, r := range results {
		if r.Err != nil || !bytes.Equal(r.Bytes, keys[i]) {
			s.Fatalf("UnwrapBatch: item %d of %d is another key, or an error: %v", i, len(keys), brief(r.Err))
		}
	}
}

// checkBatchOfMany: a batch has as many items as its caller likes. What the KMS
// takes in one call is the driver's business.
func checkBatchOfMany(s *suite) {
	w, both := s.batcher()
	n := 300
	if s.h.Costly {
		n = 130
	}
	items, keys := s.goodItems(w, n)
	s.wantKeys(s.run(both[0], s.Context(), items), keys)
	for i, r := range s.run(both[1], s.Context(), items) {
		if r.Err != nil {
			s.Fatalf("RewrapBatch: item %d of %d: %v", i, n, brief(r.Err))
		}
	}
}

// checkBatchesSideBySide: batches at the same time and one after the other don't
// share memory, and leave what they are given as it was.
func checkBatchesSideBySide(s *suite) {
	w, both := s.batcher()
	const side = 4
	var wg sync.WaitGroup
	all := make([][]kek.BatchResult, side)
	keys := make([][][]byte, side)
	for n := range side {
		items, want := s.goodItems(w, 5)
		was := make([][]byte, len(items))
		for i := range items {
			was[i] = bytes.Clone(items[i].Wrapped)
		}
		keys[n] = want
		wg.Go(func() {
			all[n] = both[0].call(s.Context(), items)
			for i := range items {
				if !bytes.Equal(items[i].Wrapped, was[i]) {
					s.Error("UnwrapBatch changed what it was given")
				}
			}
		})
	}
	wg.Wait()
	later, _ := s.goodItems(w, 5)
	s.run(both[0], s.Context(), later)
	s.run(both[1], s.Context(), later)
	for n := range side {
		if len(all[n]) != len(keys[n]) {
			s.Fatalf("UnwrapBatch returned %d results for %d items", len(all[n]), len(keys[n]))
		}
		s.wantKeys(all[n], keys[n])
	}
}

func checkBatchDenied(s *suite) { s.checkBatchFails(s.h.Deny, "denied", kek.ErrDenied) }

func checkBatchUnavailable(s *suite) {
	s.checkBatchFails(s.h.Unavailable, "unavailable", kek.ErrUnavailable)
}

// checkBatchFails: where the KMS answers for none, each item says so in the class
// that Unwrap would have.
func (s *suite) checkBatchFails(on switcher, what string, class error) {
	s.Helper()
	w, both := s.batcher()
	items, keys := s.goodItems(w, 3)
	restore := s.turn(on)
	for _, b := range both {
		for _, r := range s.run(b, s.Context(), items) {
			s.wantClass(b.name+" when "+what, r.Err, class)
		}
	}
	restore()
	s.wantKeys(s.run(both[0], s.Context(), items), keys)
}

func (s *suite) checkBatchCtx(b batch, items []kek.BatchItem) {
	s.Helper()
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	done := make(chan []kek.BatchResult, 1)
	go func() { done <- b.call(ctx, items) }()
	select {
	case results := <-done:
		for _, r := range results {
			s.wantClass(b.name+" with an ended ctx", r.Err, kek.ErrUnavailable)
			s.wantClass(b.name+" with an ended ctx", r.Err, context.Canceled)
		}
	case <-time.After(patience):
		s.Errorf("%s doesn't return when ctx has ended", b.name)
	}
}

func (s *suite) teller() kek.VersionTeller {
	s.Helper()
	w, ok := s.kek.(kek.VersionTeller)
	if !ok {
		s.Skip("not a VersionTeller")
	}
	return w
}

// told calls w.WrappedVersion.
func (s *suite) told(w kek.VersionTeller, wrapped []byte) string {
	s.Helper()
	version, err := guard("WrappedVersion", func() (string, error) { return w.WrappedVersion(wrapped), nil })
	if err != nil {
		s.Error(err)
	}
	return version
}

// primary returns what the KEK's Check says, or "" if it has none.
func (s *suite) primary() string {
	s.Helper()
	w, ok := s.kek.(kek.Checker)
	if !ok {
		return ""
	}
	status, err := s.status(s.Context(), w)
	if err != nil {
		s.Fatalf("Check: %v", brief(err))
	}
	return status.PrimaryVersion
}

// checkVersions: new wrappings are of the primary version, and garbage is of
// none that makes it panic.
func checkVersions(s *suite) {
	w := s.teller()
	wrapped := s.mustWrap(w)
	got := s.told(w, wrapped)
	if primary := s.primary(); got != "" && primary != "" && got != primary {
		s.Errorf("a new wrapping is of version %q, and the primary one is %q", got, primary)
	}
	for n := range min(len(wrapped), 80) {
		s.told(w, wrapped[:n])
		s.told(w, random(n))
	}
	s.told(w, nil)
	s.told(w, random(1<<16))
}

// checkVersionsRotated: an old wrapping can be told from a new one, and from
// one that was rewrapped.
func checkVersionsRotated(s *suite) {
	w := s.teller()
	old := s.mustWrap(w)
	before := s.told(w, old)
	if before == "" {
		s.Skip("it tells no versions")
	}
	s.h.Rotate(s, w)
	if s.told(w, old) != before {
		s.Error("rotation changed what an old wrapping tells")
	}
	fresh := s.told(w, s.mustWrap(w))
	if fresh == before {
		s.Errorf("wrappings before and after a rotation are both of version %q", before)
	}
	if primary := s.primary(); primary != "" && (fresh != primary || before == primary) {
		s.Errorf("versions %q before and %q after a rotation, and the primary one is %q", before, fresh, primary)
	}
	r, ok := s.kek.(kek.Rewrapper)
	if !ok {
		return
	}
	rewrapped, err := s.rewrap(s.Context(), r, old, s.binding)
	if err != nil {
		s.Fatalf("Rewrap: %v", brief(err))
	}
	if got := s.told(w, rewrapped); got != fresh {
		s.Errorf("a rewrapped key is of version %q, want %q", got, fresh)
	}
}
