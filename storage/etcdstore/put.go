package etcdstore

import (
	"context"
	"fmt"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// PutObject implements [storage.ObjectStore]. Without Keep it takes two round
// trips.
func (s *Store) PutObject(ctx context.Context, rec storage.ObjectRecord, guard storage.PutGuard) (storage.ObjectRecord, error) {
	p, err := s.put(ctx, rec, guard)
	if err != nil {
		return storage.ObjectRecord{}, err
	}
	for _, id := range p.debris {
		_ = s.clear(ctx, id) // the put is done; what is left goes another time, if not now
	}
	stored := p.rec
	stored.Envelope = nil
	stored = stored.Clone()
	stored.CreatedAt, stored.UpdatedAt = storage.TruncateTime(stored.CreatedAt), storage.TruncateTime(stored.UpdatedAt)
	return stored, nil
}

// put does a put, and leaves the debris that it makes.
func (s *Store) put(ctx context.Context, rec storage.ObjectRecord, guard storage.PutGuard) (p *putPlan, err error) {
	_, err = s.update(ctx, "put object", func(r *snap, careful bool) (*writes, error) {
		p = &putPlan{snap: r, w: newWrites(), rec: rec, guard: guard, careful: careful}
		return p.w, p.plan()
	})
	return p, err
}

// putPlan is a put as it is being planned.
type putPlan struct {
	*snap
	w       *writes
	rec     storage.ObjectRecord // becomes what is stored
	guard   storage.PutGuard
	careful bool

	cur     *row // the version it follows; nil: none
	expired *row // the object that it replaces
	debris  []storage.ID
}

func (p *putPlan) plan() error {
	if err := p.guard.Validate(); err != nil {
		return err
	}
	// Before anything is asked of etcd: a value too large for it needs no answer.
	if err := p.s.fits(len(p.rec.Envelope)); err != nil {
		return err
	}
	s, id := p.s, p.rec.ID
	es, err := p.get(s.objectKey(place(p.rec.ContextHash, p.rec.Name)), s.objectIDKey(id), s.debrisKey(id),
		s.markerKey(tagContext, p.rec.ContextHash), s.uniqueKey(&p.rec))
	if err != nil {
		return err
	}
	there, err := s.currentRow(es[0])
	if err != nil {
		return err
	}
	p.w.expect(s.objectKey(place(p.rec.ContextHash, p.rec.Name)), modRevision(es[0]))
	if there != nil && there.rec.Expired(p.guard.Now) {
		p.expired = there
	} else {
		p.cur = there
	}
	if err := checkGuard(p.cur, p.guard); err != nil {
		return err
	}
	p.rec.CreatedAt, p.rec.Number = p.rec.UpdatedAt, 1
	if p.cur != nil {
		err = p.follow()
	} else {
		err = p.begin(es[1], es[2])
	}
	if err == nil {
		err = p.takeName(es[4])
	}
	if err != nil {
		return err
	}
	versions := uint64(1)
	if p.cur != nil {
		versions = p.left() + 1
	}
	return s.add(p.w, &p.rec, versions, p.cur == nil, es[3])
}

func checkGuard(cur *row, guard storage.PutGuard) error {
	switch {
	case guard.IfAbsent && cur != nil:
		return fmt.Errorf("%w: the object", storage.ErrExists)
	case guard.IfVersion.IsZero():
		return nil
	case cur == nil:
		return fmt.Errorf("%w: there is no such object", storage.ErrVersionConflict)
	case cur.rec.VersionID != guard.IfVersion:
		return fmt.Errorf("%w: the current version is another", storage.ErrVersionConflict)
	}
	return nil
}

// follow plans a version of an object that is there.
func (p *putPlan) follow() error {
	cur := &p.cur.rec
	p.rec.ID, p.rec.CreatedAt, p.rec.Number = cur.ID, cur.CreatedAt, cur.Number+1
	p.rec.UniqueName = p.rec.UniqueName || cur.UniqueName
	if err := p.rec.Validate(); err != nil {
		return err
	}
	// Nearly always the version ID is new and there is no debris: that is looked
	// at only if the transaction finds it otherwise.
	version, debris := p.s.versionKey(cur.ID, p.rec.VersionID), p.s.debrisKey(cur.ID)
	p.w.expect(version, 0)
	p.w.expect(debris, 0)
	if p.careful {
		es, err := p.get(version, debris)
		switch {
		case err != nil:
			return err
		case es[1] != nil:
			return debrisError{cur.ID}
		case es[0] != nil:
			return fmt.Errorf("%w: the version ID", storage.ErrExists)
		}
	}
	if p.left() > 0 {
		p.s.retire(p.w, p.cur)
	} else {
		p.s.unlink(p.w, cur)
	}
	return p.trim()
}

// left is how many of the versions that are there remain.
func (p *putPlan) left() uint64 {
	if p.guard.Keep > 0 {
		return min(p.cur.versions, uint64(p.guard.Keep-1))
	}
	return p.cur.versions
}

// trim plans the removal of the versions that guard.Keep doesn't include, the
// oldest ones.
func (p *putPlan) trim() error {
	doomed := p.cur.versions - p.left()
	if doomed == 0 {
		return nil
	}
	id := p.cur.rec.ID
	all := prefixSpan(p.s.key(tagNumber, string(id[:])))
	if doomed > maxAtOnce {
		last, err := p.nth(all, doomed)
		if err != nil {
			return err
		}
		p.w.put(p.s.debrisKey(id), u64(last))
		p.debris = append(p.debris, id)
		return nil
	}
	a, err := p.do(read{span: all, limit: int(doomed)})
	if err != nil {
		return err
	}
	if len(a[0].entries) != int(doomed) {
		return p.disagree()
	}
	_, err = p.s.removeVersions(p.w, id, a[0].entries)
	return err
}

// nth returns the number of the n-th oldest version.
func (p *putPlan) nth(all span, n uint64) (uint64, error) {
	if n == p.cur.versions {
		return p.cur.rec.Number, nil
	}
	var last *entry
	err := p.scan(all, func() int { return int(min(n, maxEntries)) }, func(es []*entry) error {
		last = es[len(es)-1]
		if n -= uint64(len(es)); n == 0 {
			return errFull
		}
		return nil
	})
	if err != errFull {
		if err == nil {
			err = p.disagree()
		}
		return 0, err
	}
	v, err := decodeNumbered(last)
	return v.number, err
}

// disagree is for versions that are fewer than the object's row says. With
// debris they would be more, which the transaction finds out.
func (p *putPlan) disagree() error {
	return fmt.Errorf("%w: object %s has fewer versions than its row says", storage.ErrCorrupt, p.cur.rec.ID)
}

// begin plans the first version of an object. byID and debris are what is there
// under its ID.
func (p *putPlan) begin(byID, debris *entry) error {
	if err := p.rec.Validate(); err != nil {
		return err
	}
	id := p.rec.ID
	switch {
	case debris != nil:
		return debrisError{id}
	case byID != nil && (p.expired == nil || p.expired.rec.ID != id || p.expired.versions > maxAtOnce):
		// Of an object that leaves debris the ID can't be used again at once.
		return fmt.Errorf("%w: the object ID", storage.ErrExists)
	}
	p.w.expect(p.s.objectIDKey(id), modRevision(byID))
	p.w.expect(p.s.debrisKey(id), 0)
	if p.expired == nil {
		return nil
	}
	return p.replace(p.expired, true)
}

// replace plans the removal of an object that has expired.
func (p *putPlan) replace(old *row, contextStays bool) error {
	debris, err := p.remove(p.w, old, contextStays)
	if debris {
		p.debris = append(p.debris, old.rec.ID)
	}
	return err
}

// takeName checks that no other context's object holds the name as a unique
// one. If one does that has expired, its removal is planned. holder is the
// name's entry.
func (p *putPlan) takeName(holder *entry) error {
	if !p.rec.UniqueName {
		return nil
	}
	p.w.expect(p.s.uniqueKey(&p.rec), modRevision(holder))
	if holder == nil {
		return nil
	}
	id, hash, err := decodeHolder(holder)
	if err != nil || hash == p.rec.ContextHash {
		return err // its own context's is the object itself, or is being replaced
	}
	es, err := p.get(p.s.objectKey(place(hash, p.rec.Name)))
	if err != nil {
		return err
	}
	held, err := p.indexed(es[0], id)
	switch {
	case err != nil:
		return err
	case !held.rec.Expired(p.guard.Now):
		return fmt.Errorf("%w: another context holds the unique name", storage.ErrExists)
	}
	return p.replace(held, false)
}

func holderValue(r *storage.ObjectRecord) string { return string(r.ID[:]) + string(r.ContextHash[:]) }

func decodeHolder(e *entry) (id storage.ID, hash keyctx.Hash, err error) {
	if len(e.Value) != idLen+hashLen {
		return id, hash, fmt.Errorf("%w: the holder of a unique name", storage.ErrCorrupt)
	}
	return storage.ID(e.Value), keyctx.Hash(e.Value[idLen:]), nil
}
