package etcdstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// maxAtOnce is how many versions one transaction removes: so many that two
// objects, and what a put writes, still fit into one.
const maxAtOnce = 16

// remove plans the removal of the object whose current version is cur, and
// reports whether that leaves debris. contextStays says that the context gets
// another object in the same transaction.
func (r *snap) remove(w *writes, cur *row, contextStays bool) (debris bool, err error) {
	s, rec := r.s, &cur.rec
	numbers := prefixSpan(s.key(tagNumber, string(rec.ID[:])))
	a, err := r.do(
		read{span: span{lo: s.uniqueKey(rec)}},
		read{span: span{lo: s.debrisKey(rec.ID)}},
		read{span: numbers, limit: maxAtOnce + 1},
	)
	if err != nil {
		return false, err
	}
	if len(a[1].entries) > 0 {
		return false, debrisError{rec.ID}
	}
	w.expect(s.objectKey(place(rec.ContextHash, rec.Name)), cur.revision)
	w.expect(s.debrisKey(rec.ID), 0)
	w.del(s.objectKey(place(rec.ContextHash, rec.Name)))
	w.del(s.objectIDKey(rec.ID))
	w.del(s.nameDownKey(rec))
	s.unlink(w, rec)
	if holder := a[0].entries; len(holder) > 0 && bytes.HasPrefix(holder[0].Value, rec.ID[:]) {
		w.expect(s.uniqueKey(rec), holder[0].ModRevision)
		w.del(s.uniqueKey(rec))
	}
	if !contextStays {
		if err := r.unlinkContext(w, tagContext, rec.Context, rec.ContextHash, s.objectKey(place(rec.ContextHash, rec.Name))); err != nil {
			return false, err
		}
	}
	if cur.versions > maxAtOnce {
		w.put(s.debrisKey(rec.ID), u64(rec.Number))
		return true, nil
	}
	if len(a[2].entries) != int(cur.versions) {
		return false, fmt.Errorf("%w: object %s has not as many versions as its row says", storage.ErrCorrupt, rec.ID)
	}
	_, err = s.removeVersions(w, rec.ID, a[2].entries)
	return false, err
}

// removeVersions plans the removal of an object's oldest versions, given by
// their entries in 'm', and returns the number of the last.
func (s *Store) removeVersions(w *writes, id storage.ID, entries []*entry) (last uint64, err error) {
	for _, e := range entries {
		v, err := decodeNumbered(e)
		if err != nil {
			return 0, err
		}
		last = v.number
		w.expect(string(e.Key), e.ModRevision)
		w.del(s.versionKey(id, v.version))
		w.del(s.byKeyKey(v.key, id, v.number))
	}
	object := string(id[:])
	w.delRange(span{s.key(tagNumber, object), after(s.numberKey(id, last))})
	w.delRange(span{s.key(tagBody, object), after(s.bodyKey(id, last))})
	w.delRange(span{s.historyKey(id, last), prefixEnd(s.key(tagHistory, object))})
	return last, nil
}

// unlinkContext makes a context unknown if the record at key, which is being
// removed, is its last one.
func (r *snap) unlinkContext(w *writes, tag byte, kc keyctx.KeyContext, hash keyctx.Hash, key string) error {
	records := tagObject
	if tag == tagKeyContext {
		records = tagKey
	}
	all := prefixSpan(r.s.key(byte(records), string(hash[:])))
	a, err := r.do(read{span: all, limit: 2, keysOnly: true}, read{span: span{lo: r.s.markerKey(tag, hash)}})
	if err != nil {
		return err
	}
	for _, e := range a[0].entries {
		if other := string(e.Key); other != key {
			w.expectStill(other, e.CreateRevision) // as long as this one stays, the context does
			return nil
		}
	}
	if len(a[1].entries) > 0 {
		w.expect(r.s.markerKey(tag, hash), a[1].entries[0].ModRevision)
	}
	w.empty = append(w.empty, span{all.lo, key}, span{after(key), all.hi})
	for _, k := range r.s.contextKeys(tag, kc, hash) {
		w.del(k)
	}
	return nil
}

// clear removes an object's debris, some of it at a time.
func (s *Store) clear(ctx context.Context, id storage.ID) error {
	for attempt := 0; ; attempt++ {
		w, err := s.planClear(ctx, id)
		if err == nil && w == nil {
			return nil
		}
		if err == nil {
			_, err = s.commit(ctx, w)
		}
		if errors.Is(err, errChanged) || errors.Is(err, errCompacted) {
			err = pause(ctx, attempt) // somebody else clears, too
		}
		if err != nil {
			return err
		}
	}
}

// clearAtOnce is how many versions' debris goes in one transaction: each has
// one comparison and two operations.
const clearAtOnce = 50

func (s *Store) planClear(ctx context.Context, id storage.ID) (*writes, error) {
	r := &snap{s: s, ctx: ctx}
	numbers := prefixSpan(s.key(tagNumber, string(id[:])))
	a, err := r.do(read{span: span{lo: s.debrisKey(id)}}, read{span: numbers, limit: clearAtOnce})
	if err != nil || len(a[0].entries) == 0 {
		return nil, err
	}
	gone, err := decodeNumber(a[0].entries[0])
	if err != nil {
		return nil, err
	}
	var doomed []*entry
	for _, e := range a[1].entries {
		v, err := decodeNumbered(e)
		if err != nil {
			return nil, err
		}
		if v.number <= gone {
			doomed = append(doomed, e)
		}
	}
	w := newWrites()
	w.expect(s.debrisKey(id), a[0].entries[0].ModRevision)
	if len(doomed) > 0 {
		_, err = s.removeVersions(w, id, doomed)
	}
	if len(doomed) < clearAtOnce {
		w.del(s.debrisKey(id))
	}
	return w, err
}

// DeleteExpired implements [storage.ObjectStore]. It removes the longest
// expired first, each object in a transaction of its own: if it fails on the
// way, it returns what it has removed, and the error. It also clears debris
// away, of any namespace.
func (s *Store) DeleteExpired(ctx context.Context, namespace string, now time.Time, limit int) (out []storage.ObjectRecord, err error) {
	prefix := s.key(tagExpiry, part(namespace))
	expired := span{prefix, prefix + laterThan(now)}
	for n := storage.PageLimit(limit); len(out) < n; {
		var entries []*entry
		err := s.view(ctx, "delete expired", func(r *snap) error {
			a, err := r.do(read{span: expired, limit: min(n-len(out), maxEntries)})
			if err == nil {
				entries = a[0].entries
			}
			return err
		})
		if err != nil {
			return out, err
		}
		if len(entries) == 0 {
			break
		}
		for _, e := range entries {
			rec, ok, err := s.expire(ctx, e, now)
			if err != nil {
				return out, err
			}
			if ok {
				out = append(out, rec)
			}
		}
		expired.lo = after(string(entries[len(entries)-1].Key))
	}
	return out, s.clearAll(ctx)
}

// expire removes the object that an entry of 'e' is of, if it is still there
// and has expired.
func (s *Store) expire(ctx context.Context, e *entry, now time.Time) (rec storage.ObjectRecord, ok bool, err error) {
	_, err = s.update(ctx, "delete expired", func(r *snap, _ bool) (*writes, error) {
		es, err := r.get(s.objectKey(string(e.Value)))
		if err != nil {
			return nil, err
		}
		cur, err := s.currentRow(es[0])
		if ok = err == nil && cur != nil && cur.rec.ExpiresAt != 0 && s.expiryKey(&cur.rec) == string(e.Key) && cur.rec.Expired(now); !ok {
			return nil, err
		}
		rec = cur.rec
		rec.Envelope = nil
		w := newWrites()
		_, err = r.remove(w, cur, false)
		return w, err
	})
	return rec, ok && err == nil, err
}

// clearAll clears debris that was left behind, a page of it at most.
func (s *Store) clearAll(ctx context.Context) error {
	var found []*entry
	err := s.view(ctx, "clear debris", func(r *snap) error {
		a, err := r.do(read{span: prefixSpan(s.key(tagDebris)), limit: maxEntries})
		if err == nil {
			found = a[0].entries
		}
		return err
	})
	for _, e := range found {
		if err != nil {
			break
		}
		if len(e.Key) < idLen {
			return fmt.Errorf("etcdstore: clear debris: %w: an entry", storage.ErrCorrupt)
		}
		if err = s.clear(ctx, storage.ID(e.Key[len(e.Key)-idLen:])); err != nil {
			err = fmt.Errorf("etcdstore: clear debris: %w", err)
		}
	}
	return err
}
