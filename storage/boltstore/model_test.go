package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/memstore"
)

// TestAgainstMemory does the same at random to this store and to one in memory,
// which is plain enough to be believed, and wants the same answers.
func TestAgainstMemory(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		m := newModel(t, rt)
		defer m.bolt.Close()
		rt.Repeat(map[string]func(*rapid.T){
			"put": m.put, "put ": m.put, "put  ": m.put, // more often than the others
			"delete":  m.delete,
			"sweep":   m.sweep,
			"replace": m.replace,
			"import":  m.importVersion,
			"insert":  m.insertKey,
			"update":  m.updateKey,
			"drop":    m.deleteKey,
			"reopen":  m.reopen,
			"list":    m.list,
			"":        m.compare,
		})
	})
}

type model struct {
	ctx      context.Context
	bolt     *Store
	mem      *memstore.Store
	now      time.Time
	contexts []keyctx.KeyContext
	keys     []keyctx.KeyID
	versions []storage.ObjectRecord // all that were ever put
	keyIDs   []storage.KeyRecord
}

var modelTime = time.Date(2025, 7, 1, 12, 0, 0, 0, time.UTC)

func newModel(t *testing.T, rt *rapid.T) *model {
	m := &model{ctx: t.Context(), mem: memstore.New(), now: modelTime}
	m.open(rt, filepath.Join(t.TempDir(), fmt.Sprintf("%d.db", time.Now().UnixNano())))
	for _, ns := range []string{"", "app"} {
		for _, pairs := range []keyctx.KeyContext{{"o": "1"}, {"o": "1", "u": "1"}, {"o": "2", "u": "1"}} {
			m.contexts = append(m.contexts, pairs.WithNamespace(ns))
		}
	}
	for i := range 4 {
		m.keys = append(m.keys, keyctx.KeyID{byte(i + 1)})
	}
	return m
}

func (m *model) open(rt *rapid.T, path string) {
	s, err := Open(path)
	if err != nil {
		rt.Fatal(err)
	}
	s.db.NoSync = true // here nobody pulls the plug
	s.journalLimit = rapid.SampledFrom([]int{0, 300, 2000, maxJournal}).Draw(rt, "journal")
	m.bolt = s
}

func (m *model) reopen(rt *rapid.T) {
	if err := m.bolt.Close(); err != nil {
		rt.Fatal(err)
	}
	m.open(rt, m.bolt.path)
}

// both does the same to both stores and wants the same result.
func both[T any](m *model, rt *rapid.T, what string, f func(s storage.Store) (T, error)) (bolt T, err error) {
	bolt, err = f(m.bolt)
	mem, memErr := f(m.mem)
	if class(err) != class(memErr) {
		rt.Fatalf("%s: bolt says %v, memory %v", what, err, memErr)
	}
	if got, want := show(bolt), show(mem); got != want {
		rt.Fatalf("%s:\nbolt   %s\nmemory %s", what, got, want)
	}
	return bolt, err
}

func class(err error) string {
	for _, c := range []error{storage.ErrNotFound, storage.ErrExists, storage.ErrVersionConflict, storage.ErrTooLarge, storage.ErrInvalidCursor, storage.ErrCorrupt, storage.ErrUnavailable} {
		if errors.Is(err, c) {
			return c.Error()
		}
	}
	return fmt.Sprint(err != nil)
}

func show(v any) string { return fmt.Sprintf("%+v", v) }

func (m *model) context(rt *rapid.T) (keyctx.KeyContext, keyctx.Hash) {
	kc := rapid.SampledFrom(m.contexts).Draw(rt, "context")
	h, err := kc.Hash()
	if err != nil {
		rt.Fatal(err)
	}
	return kc, h
}

var modelNames = []string{"a", "ab", "b", "\U0010ffff"}

func (m *model) record(rt *rapid.T) storage.ObjectRecord {
	kc, h := m.context(rt)
	m.now = m.now.Add(time.Duration(rapid.IntRange(0, 3).Draw(rt, "later")) * time.Second)
	r := storage.ObjectRecord{
		ID: storage.NewID(m.now), Context: kc, ContextHash: h, Name: rapid.SampledFrom(modelNames).Draw(rt, "name"),
		VersionID: storage.NewID(m.now), KeyID: rapid.SampledFrom(m.keys).Draw(rt, "key"),
		UniqueName: rapid.IntRange(0, 4).Draw(rt, "unique") == 0,
		UpdatedAt:  m.now, Envelope: bytes.Repeat([]byte{1}, rapid.SampledFrom([]int{0, 10, 5000}).Draw(rt, "size")),
	}
	if rapid.IntRange(0, 3).Draw(rt, "expires") == 0 {
		r.ExpiresAt = m.now.Add(time.Duration(rapid.IntRange(0, 8).Draw(rt, "in")) * time.Second).UnixMicro()
	}
	return r
}

// known returns a version that was put once, or one that never was.
func (m *model) known(rt *rapid.T) storage.ObjectRecord {
	if len(m.versions) == 0 || rapid.IntRange(0, 9).Draw(rt, "unknown") == 0 {
		return m.record(rt)
	}
	return rapid.SampledFrom(m.versions).Draw(rt, "version")
}

func (m *model) put(rt *rapid.T) {
	r := m.record(rt)
	guard := storage.PutGuard{Now: m.now, Keep: rapid.IntRange(0, 3).Draw(rt, "keep")}
	switch rapid.IntRange(0, 6).Draw(rt, "guard") {
	case 0:
		guard.IfAbsent = true
	case 1:
		guard.IfVersion = m.known(rt).VersionID
	case 2:
		r.VersionID = m.known(rt).VersionID
	case 3:
		r.ID = m.known(rt).ID
	}
	got, err := both(m, rt, "put", func(s storage.Store) (storage.ObjectRecord, error) { return s.PutObject(m.ctx, r, guard) })
	if err == nil {
		got.Envelope = r.Envelope
		m.versions = append(m.versions, got)
	}
}

func (m *model) delete(rt *rapid.T) {
	r := m.known(rt)
	ref := storage.ObjectRef{ID: r.ID, Now: m.now}
	if rapid.Bool().Draw(rt, "by name") {
		ref = storage.ObjectRef{ContextHash: r.ContextHash, Name: r.Name, Now: m.now}
	}
	var guard storage.ID
	if rapid.IntRange(0, 2).Draw(rt, "guarded") == 0 {
		guard = r.VersionID
	}
	_, _ = both(m, rt, "delete", func(s storage.Store) (storage.ObjectRecord, error) { return s.DeleteObject(m.ctx, ref, guard) })
}

func (m *model) sweep(rt *rapid.T) {
	ns := rapid.SampledFrom([]string{"", "app", "ap"}).Draw(rt, "namespace")
	_, _ = both(m, rt, "sweep", func(s storage.Store) ([]storage.ID, error) {
		rs, err := s.DeleteExpired(m.ctx, ns, m.now, 0)
		var ids []storage.ID
		for _, r := range rs {
			ids = append(ids, r.ID)
		}
		slices.SortFunc(ids, func(a, b storage.ID) int { return bytes.Compare(a[:], b[:]) }) // any order will do
		return ids, err
	})
}

func (m *model) replace(rt *rapid.T) {
	r, next := m.known(rt), rapid.SampledFrom(m.keys).Draw(rt, "next")
	_, _ = both(m, rt, "replace", func(s storage.Store) (bool, error) {
		return true, s.ReplaceEnvelope(m.ctx, r.ID, r.VersionID, r.KeyID, next, []byte("replaced"))
	})
}

func (m *model) importVersion(rt *rapid.T) {
	r := m.known(rt)
	switch rapid.IntRange(0, 4).Draw(rt, "import") {
	case 0: // the same again
	case 1:
		r.VersionID = storage.NewID(m.now)
		r.Number += uint64(rapid.IntRange(1, 3).Draw(rt, "number"))
	case 2:
		r.UpdatedBy = "somebody else"
	default:
		r = m.record(rt)
		r.Number = uint64(rapid.IntRange(1, 3).Draw(rt, "number"))
	}
	if r.Number == 0 {
		r.Number = 1
	}
	if _, err := both(m, rt, "import", func(s storage.Store) (bool, error) { return true, s.ImportVersion(m.ctx, r) }); err == nil {
		m.versions = append(m.versions, r)
	}
}

func (m *model) insertKey(rt *rapid.T) {
	kc, h := m.context(rt)
	r := storage.KeyRecord{
		KeyID: keyctx.KeyID{9, byte(rapid.IntRange(0, 30).Draw(rt, "id"))}, Context: kc, ContextHash: h,
		Purpose: keyctx.Purpose(rapid.IntRange(1, 2).Draw(rt, "purpose")), Version: uint32(rapid.IntRange(1, 3).Draw(rt, "key version")),
		State: storage.StateActive, Quorum: keyctx.AnyOf, Wrappings: []keyctx.Wrapping{{URI: "a", Wrapped: []byte{1}}}, CreatedAt: m.now,
	}
	r.ParentID = m.parent(rt)
	if _, err := both(m, rt, "insert key", func(s storage.Store) (bool, error) { return true, s.InsertKey(m.ctx, r) }); err == nil {
		r.Revision = 1
		m.keyIDs = append(m.keyIDs, r)
	}
}

func (m *model) parent(rt *rapid.T) keyctx.KeyID {
	return keyctx.KeyID{byte(rapid.IntRange(0, 2).Draw(rt, "parent"))} // or none
}

func (m *model) knownKey(rt *rapid.T) storage.KeyRecord {
	if len(m.keyIDs) == 0 {
		rt.Skip("no keys yet")
	}
	return rapid.SampledFrom(m.keyIDs).Draw(rt, "known key")
}

func (m *model) updateKey(rt *rapid.T) {
	r := m.knownKey(rt)
	r.Revision = uint64(rapid.IntRange(0, 3).Draw(rt, "revision"))
	r.State, r.ParentID = storage.State(rapid.IntRange(1, 3).Draw(rt, "state")), m.parent(rt)
	_, _ = both(m, rt, "update key", func(s storage.Store) (bool, error) { return true, s.UpdateKey(m.ctx, r) })
}

func (m *model) deleteKey(rt *rapid.T) {
	r, revision := m.knownKey(rt), uint64(rapid.IntRange(1, 3).Draw(rt, "revision"))
	_, _ = both(m, rt, "delete key", func(s storage.Store) (bool, error) { return true, s.DeleteKey(m.ctx, r.KeyID, revision) })
}

func (m *model) filter(rt *rapid.T) storage.ContextFilter {
	_, h := m.context(rt)
	f := rapid.SampledFrom([]storage.ContextFilter{
		{Hash: h}, {All: true}, {Match: keyctx.KeyContext{"o": "1"}}, {Match: keyctx.KeyContext{"u": "1"}}, {Match: keyctx.KeyContext{"u": "1", "o": "2"}},
	}).Draw(rt, "filter")
	f.Namespace = rapid.SampledFrom([]string{"", "app"}).Draw(rt, "namespace")
	f.AnyNamespace = rapid.Bool().Draw(rt, "any")
	return f
}

// list compares lists of all kinds, read in pages.
func (m *model) list(rt *rapid.T) {
	q := storage.ObjectQuery{
		Contexts: m.filter(rt), Order: storage.Order(rapid.IntRange(0, 1).Draw(rt, "order")), Descending: rapid.Bool().Draw(rt, "down"),
		NamePrefix:   rapid.SampledFrom([]string{"", "a", "ab", "\U0010ffff"}).Draw(rt, "prefix"),
		WithEnvelope: rapid.Bool().Draw(rt, "envelopes"), IncludeExpired: rapid.Bool().Draw(rt, "expired"), Now: m.now,
		Limit: rapid.IntRange(1, 4).Draw(rt, "limit"),
	}
	if q.Order == storage.OrderByUpdated && rapid.Bool().Draw(rt, "after") {
		q.UpdatedAfter = modelTime.Add(time.Duration(rapid.IntRange(0, 20).Draw(rt, "seconds")) * time.Second)
	}
	_, _ = both(m, rt, "list objects", func(s storage.Store) (string, error) {
		return pages(func(cursor string) ([]storage.ObjectRecord, string, error) {
			q.Cursor = cursor
			p, err := s.ListObjects(m.ctx, q)
			return p.Objects, p.Next, err
		})
	})
	k := storage.KeyQuery{Contexts: m.filter(rt), Purpose: keyctx.Purpose(rapid.IntRange(0, 2).Draw(rt, "of purpose")), ParentID: m.parent(rt), Limit: q.Limit}
	_, _ = both(m, rt, "list keys", func(s storage.Store) (string, error) {
		return pages(func(cursor string) ([]storage.KeyRecord, string, error) {
			k.Cursor = cursor
			p, err := s.ListKeys(m.ctx, k)
			return p.Keys, p.Next, err
		})
	})
	v := storage.VersionQuery{Object: m.known(rt).ID, Ascending: q.Descending, WithEnvelope: q.WithEnvelope, IncludeExpired: q.IncludeExpired, Now: m.now, Limit: q.Limit}
	_, _ = both(m, rt, "list versions", func(s storage.Store) (string, error) {
		return pages(func(cursor string) ([]storage.ObjectRecord, string, error) {
			v.Cursor = cursor
			p, err := s.ListVersions(m.ctx, v)
			return p.Objects, p.Next, err
		})
	})
}

func pages[T any](page func(cursor string) ([]T, string, error)) (string, error) {
	var all strings.Builder
	for cursor := ""; ; {
		rows, next, err := page(cursor)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&all, "%+v\n", rows)
		if cursor = next; cursor == "" {
			return all.String(), nil
		}
	}
}

// compare runs after every step: everything must be found, by everything.
func (m *model) compare(rt *rapid.T) {
	for _, id := range m.keys {
		_, _ = both(m, rt, "count by key", func(s storage.Store) (int64, error) { return s.CountByKey(m.ctx, id) })
	}
	everything := storage.ContextFilter{All: true, AnyNamespace: true}
	for _, order := range []storage.Order{storage.OrderByName, storage.OrderByUpdated} {
		_, _ = both(m, rt, "all objects", func(s storage.Store) (storage.ObjectPage, error) {
			return s.ListObjects(m.ctx, storage.ObjectQuery{Contexts: everything, Order: order, IncludeExpired: true, Limit: 1000})
		})
	}
	if err := m.bolt.view(m.ctx, "check", func(t *tx) error {
		for _, p := range checkIndex(t) {
			rt.Errorf("index: %s", p)
		}
		return nil
	}); err != nil {
		rt.Fatal(err)
	}
	if len(m.versions) == 0 {
		return
	}
	r := m.versions[len(m.versions)-1]
	for _, ref := range []storage.ObjectRef{{ID: r.ID}, {ID: r.ID, Version: r.VersionID}, {ContextHash: r.ContextHash, Name: r.Name}} {
		ref.Now = m.now
		_, _ = both(m, rt, "get", func(s storage.Store) (storage.ObjectRecord, error) { return s.GetObject(m.ctx, ref) })
	}
	_, _ = both(m, rt, "by key", func(s storage.Store) (string, error) {
		return pages(func(cursor string) ([]storage.ObjectRecord, string, error) {
			p, err := s.ListByKey(m.ctx, storage.ByKeyQuery{KeyID: r.KeyID, Cursor: cursor, Limit: 2})
			return p.Objects, p.Next, err
		})
	})
}
