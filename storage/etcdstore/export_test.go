package etcdstore

import (
	"context"
	"fmt"
	"maps"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// MaxAtOnce is maxAtOnce.
const MaxAtOnce = maxAtOnce

// Classify is classify.
var Classify = classify

// PutUncleared is PutObject by a process that dies when the put is done.
func (s *Store) PutUncleared(ctx context.Context, rec storage.ObjectRecord, guard storage.PutGuard) error {
	_, err := s.put(ctx, rec, guard)
	return err
}

// DeleteUncleared is DeleteObject by a process that dies when that is done.
func (s *Store) DeleteUncleared(ctx context.Context, id storage.ID) error {
	_, err := s.update(ctx, "delete", func(r *snap, _ bool) (*writes, error) {
		cur, err := r.currentByID(id)
		if err != nil {
			return nil, err
		}
		w := newWrites()
		_, err = r.remove(w, cur, false)
		return w, err
	})
	return err
}

// ReadTwice reads, has between done, and reads on at the same revision, until
// that works. It returns how often it began.
func (s *Store) ReadTwice(ctx context.Context, between func(revision int64)) (n int, err error) {
	err = s.view(ctx, "read twice", func(r *snap) error {
		n++
		if _, err := r.get(s.base); err != nil {
			return err
		}
		between(r.rev)
		_, err := r.get(s.base)
		return err
	})
	return n, err
}

// Audit reads everything at one revision and works out from the records which
// keys there must be, and that there are no others. debris says how much of it
// may be there.
func (s *Store) Audit(ctx context.Context, debris bool) error {
	resp, err := s.client.Get(ctx, s.base, clientv3.WithPrefix())
	if err != nil {
		return err
	}
	a := &audit{s: s, want: map[string]bool{}, gone: map[storage.ID]uint64{}, versions: map[storage.ID]uint64{}, counted: map[storage.ID]uint64{},
		names: map[storage.ID]string{}, holders: map[string]storage.ID{}}
	have := map[string]bool{}
	for _, e := range resp.Kvs {
		have[string(e.Key)] = true
		if e.Key[len(s.base)] == tagDebris {
			n, err := decodeNumber(e)
			if err != nil {
				return err
			}
			a.gone[storage.ID(e.Key[len(s.base)+1:])] = n
		}
	}
	if len(a.gone) > 0 && !debris {
		return fmt.Errorf("debris of %d objects is left", len(a.gone))
	}
	for _, e := range resp.Kvs {
		if err := a.entry(e); err != nil {
			return err
		}
	}
	// A version that was imported may not say that the name is unique, where an
	// earlier one did: the object holds it as long as it is there.
	for k, id := range a.holders {
		if a.names[id] == k {
			a.want[k] = true
		}
	}
	for k := range have {
		if !a.want[k] && !a.isDebris(k) {
			return fmt.Errorf("%q is left over", k[len(s.base):])
		}
	}
	for k := range a.want {
		if !have[k] {
			return fmt.Errorf("%q is missing", k[len(s.base):])
		}
	}
	if !maps.Equal(a.versions, a.counted) {
		return fmt.Errorf("the numbers of versions are wrong: %v, counted %v", a.versions, a.counted)
	}
	return nil
}

type audit struct {
	s        *Store
	want     map[string]bool
	gone     map[storage.ID]uint64
	versions map[storage.ID]uint64 // as rows say
	counted  map[storage.ID]uint64
	names    map[storage.ID]string // what an object's unique name's entry is
	holders  map[string]storage.ID // who that entry says it is
}

// isDebris reports whether a key may be left of an object that is in a state of
// removal.
func (a *audit) isDebris(key string) bool {
	rest := key[len(a.s.base)+1:]
	switch key[len(a.s.base)] {
	case tagDebris:
		return true
	case tagByKey:
		rest = rest[keyIDLen:]
	case tagHistory, tagBody, tagNumber, tagVersionID:
	default:
		return false
	}
	_, ok := a.gone[storage.ID([]byte(rest[:idLen]))]
	return ok
}

func (a *audit) wants(keys ...string) {
	for _, k := range keys {
		a.want[k] = true
	}
}

func (a *audit) entry(e *entry) error {
	s := a.s
	switch e.Key[len(s.base)] {
	case tagObject:
		w, err := s.currentRow(e)
		if err != nil {
			return err
		}
		r := &w.rec
		a.wants(string(e.Key), s.objectIDKey(r.ID), s.nameDownKey(r), s.updatedKey(r), s.updatedDownKey(r))
		a.wants(s.contextKeys(tagContext, r.Context, r.ContextHash)...)
		if r.ExpiresAt != 0 {
			a.wants(s.expiryKey(r))
		}
		if r.UniqueName {
			a.wants(s.uniqueKey(r))
		}
		a.names[r.ID] = s.uniqueKey(r)
		a.versions[r.ID] = w.versions
		a.version(w)
	case tagHistory:
		w, err := s.oldRow(e)
		if err != nil {
			return err
		}
		if w.rec.Number > a.gone[w.rec.ID] {
			a.wants(string(e.Key))
			a.version(w)
		}
	case tagKey:
		k, err := s.keyRow(e)
		if err != nil {
			return err
		}
		a.wants(k.key, s.keyIDKey(k.rec.KeyID))
		a.wants(s.contextKeys(tagKeyContext, k.rec.Context, k.rec.ContextHash)...)
		if k.rec.ParentID != (keyctx.KeyID{}) {
			a.wants(s.parentKey(&k.rec))
		}
	case tagUnique:
		id, _, err := decodeHolder(e)
		if err != nil {
			return err
		}
		a.holders[string(e.Key)] = id
	case tagSystem:
		a.wants(string(e.Key))
	}
	return nil
}

func (a *audit) version(w *row) {
	r := &w.rec
	a.counted[r.ID]++
	a.wants(a.s.numberKey(r.ID, r.Number), a.s.versionKey(r.ID, r.VersionID), a.s.byKeyKey(r.KeyID, r.ID, r.Number))
	if w.apart {
		a.wants(a.s.bodyKey(r.ID, r.Number))
	}
}

// LargestEnvelope is how long an envelope of this object may be.
func (s *Store) LargestEnvelope(rec storage.ObjectRecord) int {
	rec.Number, rec.CreatedAt, rec.Envelope = 1, rec.UpdatedAt, make([]byte, maxInline+1)
	w := newWrites()
	p := &putPlan{snap: &snap{s: s}, w: w, rec: rec}
	w.expect(s.objectKey(place(rec.ContextHash, rec.Name)), 0)
	if err := p.begin(nil, nil); err != nil {
		panic(err)
	}
	if err := s.add(w, &p.rec, 1, true, nil); err != nil {
		panic(err)
	}
	return s.maxRequest - w.size() + maxInline + 1
}

// Turned checks the backward form of names: it reports whether they sort the
// other way round.
func Turned(names []string) bool {
	slices.Sort(names)
	return slices.IsSortedFunc(names, func(a, b string) int {
		x, y := turnedName(a), turnedName(b)
		switch {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return 0
	})
}
