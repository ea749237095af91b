package etcdstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/etcdstore"
)

// TestIndexesAgree has several stores do at random what there is to be done,
// and looks again and again whether all keys in etcd agree with the records.
func TestIndexesAgree(t *testing.T) {
	t.Parallel()
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	client := connectShared(t)
	o := etcdstore.Options{Prefix: newPrefix()}
	rounds := 250
	if testing.Short() {
		rounds = 50
	}
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			w := &randomWorker{t: t, s: newStore(t, client, o), rnd: rand.New(rand.NewPCG(uint64(seed), uint64(worker)))}
			for range rounds {
				if err := w.step(); err != nil && !errors.Is(err, storage.ErrNotFound) && !errors.Is(err, storage.ErrExists) && !errors.Is(err, storage.ErrVersionConflict) {
					t.Error(err)
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	s := newStore(t, client, o)
	for ended := false; !ended; {
		select {
		case <-done:
			ended = true
		case <-time.After(20 * time.Millisecond):
		}
		if err := s.Audit(t.Context(), !ended); err != nil {
			t.Fatal(err)
		}
	}
	// Emptied, nothing is left, contexts included.
	page, err := s.ListObjects(t.Context(), storage.ObjectQuery{Contexts: allOf, IncludeExpired: true, Limit: 1000})
	must(t, err)
	for _, r := range page.Objects {
		_, err := s.DeleteObject(t.Context(), storage.ObjectRef{ID: r.ID}, storage.ID{})
		must(t, err)
	}
	keys, err := s.ListKeys(t.Context(), storage.KeyQuery{Contexts: allOf, Limit: 1000})
	must(t, err)
	for _, k := range keys.Keys {
		must(t, s.DeleteKey(t.Context(), k.KeyID, k.Revision))
	}
	resp, err := client.Get(t.Context(), o.Prefix, rangeOf(o.Prefix))
	must(t, err)
	for _, kv := range resp.Kvs {
		t.Errorf("%q is left in an empty store", kv.Key)
	}
}

type randomWorker struct {
	t   *testing.T
	s   *etcdstore.Store
	rnd *rand.Rand
}

func (w *randomWorker) object() storage.ObjectRecord {
	return object(w.t, w.rnd.IntN(3), fmt.Sprint("n", w.rnd.IntN(4)), func(r *storage.ObjectRecord) {
		r.KeyID = keyctx.KeyID{byte(1 + w.rnd.IntN(5))}
		r.UniqueName = w.rnd.IntN(8) == 0
		r.UpdatedAt = now.Add(time.Duration(w.rnd.IntN(1000)) * time.Second)
		if w.rnd.IntN(4) == 0 {
			r.ExpiresAt = now.UnixMicro()
		}
		r.Envelope = make([]byte, w.rnd.IntN(2)*5000)
	})
}

func (w *randomWorker) step() error {
	ctx, r := w.t.Context(), w.object()
	ref := storage.ObjectRef{ContextHash: r.ContextHash, Name: r.Name}
	switch w.rnd.IntN(12) {
	default:
		g := storage.PutGuard{Keep: []int{0, 0, 0, 1, 3}[w.rnd.IntN(5)]}
		if w.rnd.IntN(3) == 0 {
			g.Now = now
		}
		_, err := w.s.PutObject(ctx, r, g)
		return err
	case 0:
		_, err := w.s.DeleteObject(ctx, ref, storage.ID{})
		return err
	case 1:
		_, err := w.s.DeleteExpired(ctx, "app", now, 2)
		return err
	case 2:
		cur, err := w.s.GetObject(ctx, ref)
		if err != nil {
			return err
		}
		page, err := w.s.ListVersions(ctx, storage.VersionQuery{Object: cur.ID, Limit: 3})
		if err != nil || len(page.Objects) == 0 {
			return err
		}
		v := page.Objects[w.rnd.IntN(len(page.Objects))]
		return w.s.ReplaceEnvelope(ctx, v.ID, v.VersionID, v.KeyID, r.KeyID, r.Envelope)
	case 3:
		r.Number = 1 + uint64(w.rnd.IntN(50))
		r.CreatedAt = now
		if cur, err := w.s.GetObject(ctx, ref); err == nil {
			r.ID = cur.ID
		}
		return w.s.ImportVersion(ctx, r)
	case 4:
		k := key(w.t, w.rnd.IntN(3), uint32(1+w.rnd.IntN(3)))
		if w.rnd.IntN(2) == 0 {
			k.ParentID = keyctx.KeyID{1}
		}
		return w.s.InsertKey(ctx, k)
	case 5:
		k, err := w.s.LatestKey(ctx, r.ContextHash, keyctx.PurposeData)
		if err != nil {
			return err
		}
		if w.rnd.IntN(2) == 0 {
			return w.s.DeleteKey(ctx, k.KeyID, k.Revision)
		}
		k.ParentID = keyctx.KeyID{byte(w.rnd.IntN(3))}
		return w.s.UpdateKey(ctx, k)
	}
}

// TestNamesOfAnyBytes lists names that the vault doesn't make, forwards and
// backwards.
func TestNamesOfAnyBytes(t *testing.T) {
	names := []string{"\x00", "\x00\x00", "\x00\xff", "\xff", "\xff\x00", "\xff\xff", "a", "a\x00", "a\x00b", "a\xff", "ab", "\x01", "\xfe\xff"}
	if !etcdstore.Turned(names) { // sorts them, too
		t.Error("they don't sort the other way round")
	}
	s := newStore(t, connectShared(t), etcdstore.Options{})
	for _, name := range names {
		put(t, s, object(t, 1, name))
	}
	_, h := contextOf(t, 1)
	for _, down := range []bool{false, true} {
		var got []string
		for q := (storage.ObjectQuery{Contexts: storage.ContextFilter{Hash: h}, Descending: down, Limit: 2}); ; {
			page, err := s.ListObjects(t.Context(), q)
			must(t, err)
			for _, r := range page.Objects {
				got = append(got, r.Name)
			}
			if q.Cursor = page.Next; q.Cursor == "" {
				break
			}
		}
		for i := range names {
			j := i
			if down {
				j = len(names) - 1 - i
			}
			if len(got) != len(names) || got[i] != names[j] {
				t.Fatalf("descending %v: got %q", down, got)
			}
		}
	}
	for _, prefix := range []string{"a", "\x00", "\xff"} {
		for _, down := range []bool{false, true} {
			page, err := s.ListObjects(t.Context(), storage.ObjectQuery{Contexts: allOf, NamePrefix: prefix, Descending: down})
			must(t, err)
			want := 0
			for _, name := range names {
				if strings.HasPrefix(name, prefix) {
					want++
				}
			}
			if len(page.Objects) != want {
				t.Errorf("prefix %q, descending %v: %d objects, want %d", prefix, down, len(page.Objects), want)
			}
		}
	}
}

// TestPrefixesHaveNothingInCommon has stores whose prefixes start with one
// another.
func TestPrefixesHaveNothingInCommon(t *testing.T) {
	client := connectShared(t)
	outer := newPrefix()
	a, b := newStore(t, client, etcdstore.Options{Prefix: outer}), newStore(t, client, etcdstore.Options{Prefix: outer + "o/"})
	put(t, a, object(t, 1, "a"))
	for i := range 40 {
		put(t, b, object(t, i, "b"))
	}
	for s, want := range map[storage.Store]int{a: 1, b: 40} {
		page, err := s.ListObjects(t.Context(), storage.ObjectQuery{Contexts: allOf})
		if err != nil || len(page.Objects) != want {
			t.Errorf("%d objects, want %d, %v", len(page.Objects), want, err)
		}
	}
	must(t, a.Audit(t.Context(), false))
}

// TestDamagedEntries writes into the store's keys what doesn't belong there.
func TestDamagedEntries(t *testing.T) {
	client := connectShared(t)
	o := etcdstore.Options{Prefix: newPrefix()}
	s := newStore(t, client, o)
	r := put(t, s, object(t, 1, "a", func(r *storage.ObjectRecord) { r.Envelope = make([]byte, 5000) }))
	k := key(t, 1, 1)
	must(t, s.InsertKey(t.Context(), k))
	_, err := s.PutSystem(t.Context(), storage.SystemRecord{Name: "s", Value: []byte("v")})
	must(t, err)
	resp, err := client.Get(t.Context(), o.Prefix, rangeOf(o.Prefix))
	must(t, err)
	for _, kv := range resp.Kvs {
		for _, value := range [][]byte{nil, {0xff}, bytes.Repeat([]byte{7}, 60)} {
			_, err := client.Put(t.Context(), string(kv.Key), string(value))
			must(t, err)
			for op, f := range map[string]func() error{
				"get":      func() error { _, err := s.GetObject(t.Context(), storage.ObjectRef{ID: r.ID}); return err },
				"get key":  func() error { _, err := s.GetKey(t.Context(), k.KeyID); return err },
				"latest":   func() error { _, err := s.LatestKey(t.Context(), k.ContextHash, k.Purpose); return err },
				"system":   func() error { _, err := s.GetSystem(t.Context(), "s"); return err },
				"by key":   func() error { _, err := s.ListByKey(t.Context(), storage.ByKeyQuery{KeyID: r.KeyID}); return err },
				"versions": func() error { _, err := s.ListVersions(t.Context(), storage.VersionQuery{Object: r.ID}); return err },
				"list": func() error {
					_, err := s.ListObjects(t.Context(), storage.ObjectQuery{Contexts: allOf, Order: storage.OrderByUpdated})
					return err
				},
				"down": func() error {
					_, err := s.ListObjects(t.Context(), storage.ObjectQuery{Contexts: allOf, Descending: true})
					return err
				},
			} {
				if err := f(); err != nil && !errors.Is(err, storage.ErrCorrupt) {
					t.Errorf("%s with a damaged %q: %v", op, kv.Key[len(o.Prefix)+1:len(o.Prefix)+2], err)
				}
			}
		}
		_, err = client.Put(t.Context(), string(kv.Key), string(kv.Value))
		must(t, err)
	}
	must(t, s.Audit(t.Context(), false))
}
