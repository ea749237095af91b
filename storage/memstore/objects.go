package memstore

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// object is an object's versions, lowest number first and never none, with
// where it is kept: the records themselves may have been edited.
type object struct {
	versions []*storage.ObjectRecord
	place    place
	id       storage.ID
	unique   uniqueName // if it holds one
}

// place is where an object is found by name.
type place struct {
	context keyctx.Hash
	name    string
}

type uniqueName struct{ namespace, name string }

func (o *object) current() *storage.ObjectRecord { return o.versions[len(o.versions)-1] }

// version returns the version with that ID, the current one for the zero ID,
// or nil. It may be called on nil.
func (o *object) version(id storage.ID) *storage.ObjectRecord {
	if o == nil {
		return nil
	}
	if id.IsZero() {
		return o.current()
	}
	for _, v := range o.versions {
		if v.VersionID == id {
			return v
		}
	}
	return nil
}

// live returns the object if it is there and hasn't expired, else nil.
func live(o *object, now time.Time) *object {
	if o == nil || o.current().Expired(now) {
		return nil
	}
	return o
}

// find returns the object that ref names, if it is live.
func (s *Store) find(ref storage.ObjectRef) *object {
	if !ref.ID.IsZero() {
		return live(s.ids[ref.ID], ref.Now)
	}
	return live(s.objects[place{ref.ContextHash, ref.Name}], ref.Now)
}

// PutObject implements [storage.ObjectStore].
func (s *Store) PutObject(ctx context.Context, rec storage.ObjectRecord, guard storage.PutGuard) (storage.ObjectRecord, error) {
	if err := s.begin(ctx, "PutObject"); err != nil {
		return storage.ObjectRecord{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	meta, err := s.put(rec, guard)
	if err != nil {
		return storage.ObjectRecord{}, fmt.Errorf("memstore: put object in context %s: %w", rec.ContextHash.Short(), err)
	}
	return meta, nil
}

func (s *Store) put(rec storage.ObjectRecord, guard storage.PutGuard) (storage.ObjectRecord, error) {
	if err := guard.Validate(); err != nil {
		return storage.ObjectRecord{}, err
	}
	at := place{rec.ContextHash, rec.Name}
	expired := s.objects[at]
	o := live(expired, guard.Now)
	rec.CreatedAt, rec.Number = rec.UpdatedAt, 1
	if o != nil {
		expired = nil
		cur := o.current()
		rec.ID, rec.CreatedAt, rec.Number = cur.ID, cur.CreatedAt, cur.Number+1
		rec.UniqueName = rec.UniqueName || cur.UniqueName
	}
	if err := rec.Validate(); err != nil {
		return storage.ObjectRecord{}, err
	}
	if err := checkGuard(o, guard); err != nil {
		return storage.ObjectRecord{}, err
	}
	if o != nil && o.version(rec.VersionID) != nil {
		return storage.ObjectRecord{}, fmt.Errorf("%w: the version ID", storage.ErrExists)
	}
	if held := s.ids[rec.ID]; held != o && held != expired {
		return storage.ObjectRecord{}, fmt.Errorf("%w: the object ID", storage.ErrExists)
	}
	holder := s.holder(rec)
	if holder != nil && holder != o && !holder.current().Expired(guard.Now) {
		return storage.ObjectRecord{}, fmt.Errorf("%w: another context holds the unique name", storage.ErrExists)
	}
	if expired != nil {
		s.remove(expired)
	}
	if holder != nil && holder != o && holder != expired {
		s.remove(holder)
	}
	o = s.add(o, rec)
	if guard.Keep > 0 && len(o.versions) > guard.Keep {
		o.versions = slices.Delete(o.versions, 0, len(o.versions)-guard.Keep)
	}
	return meta(o.current()), nil
}

func checkGuard(o *object, guard storage.PutGuard) error {
	if guard.IfAbsent && o != nil {
		return fmt.Errorf("%w: the object", storage.ErrExists)
	}
	if guard.IfVersion.IsZero() {
		return nil
	}
	if o == nil {
		return fmt.Errorf("%w: there is no such object", storage.ErrVersionConflict)
	}
	if o.current().VersionID != guard.IfVersion {
		return fmt.Errorf("%w: the current version is another", storage.ErrVersionConflict)
	}
	return nil
}

// holder returns the object that holds rec's name as a unique one, if rec
// wants it to be unique.
func (s *Store) holder(rec storage.ObjectRecord) *object {
	if !rec.UniqueName {
		return nil
	}
	return s.unique[uniqueName{rec.Context.Namespace(), rec.Name}]
}

// add appends a version to o, or makes the object if o is nil.
func (s *Store) add(o *object, rec storage.ObjectRecord) *object {
	rec = rec.Clone()
	rec.CreatedAt = storage.TruncateTime(rec.CreatedAt)
	rec.UpdatedAt = storage.TruncateTime(rec.UpdatedAt)
	if o == nil {
		o = &object{place: place{rec.ContextHash, rec.Name}, id: rec.ID}
		s.objects[o.place] = o
		s.ids[o.id] = o
	}
	o.versions = append(o.versions, &rec)
	if rec.UniqueName {
		o.unique = uniqueName{rec.Context.Namespace(), rec.Name}
		s.unique[o.unique] = o
	}
	return o
}

func (s *Store) remove(o *object) {
	delete(s.objects, o.place)
	delete(s.ids, o.id)
	delete(s.unique, o.unique)
}

// meta is a copy of the record without its envelope.
func meta(r *storage.ObjectRecord) storage.ObjectRecord {
	c := *r
	c.Envelope = nil
	return c.Clone()
}

// GetObject implements [storage.ObjectStore].
func (s *Store) GetObject(ctx context.Context, ref storage.ObjectRef) (storage.ObjectRecord, error) {
	if err := s.begin(ctx, "GetObject"); err != nil {
		return storage.ObjectRecord{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	rec := s.find(ref).version(ref.Version)
	if rec == nil || rec.Expired(ref.Now) {
		return storage.ObjectRecord{}, fmt.Errorf("memstore: get object: %w", storage.ErrNotFound)
	}
	if ref.NoEnvelope {
		return meta(rec), nil
	}
	return rec.Clone(), nil
}

// GetObjects implements [storage.ObjectStore].
func (s *Store) GetObjects(ctx context.Context, context keyctx.Hash, names []string, now time.Time) ([]storage.ObjectRecord, error) {
	if err := s.begin(ctx, "GetObjects"); err != nil {
		return nil, err
	}
	if len(names) > storage.MaxNames {
		return nil, fmt.Errorf("memstore: get objects: %d names, at most %d are allowed", len(names), storage.MaxNames)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []storage.ObjectRecord
	seen := map[string]bool{}
	for _, name := range names {
		o := live(s.objects[place{context, name}], now)
		if o != nil && !seen[name] {
			seen[name] = true
			out = append(out, o.current().Clone())
		}
	}
	return out, nil
}

// DeleteObject implements [storage.ObjectStore].
func (s *Store) DeleteObject(ctx context.Context, ref storage.ObjectRef, ifVersion storage.ID) (storage.ObjectRecord, error) {
	if err := s.begin(ctx, "DeleteObject"); err != nil {
		return storage.ObjectRecord{}, err
	}
	if !ref.Version.IsZero() {
		return storage.ObjectRecord{}, fmt.Errorf("memstore: delete object: a single version can't be deleted")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.find(ref)
	if o == nil {
		return storage.ObjectRecord{}, fmt.Errorf("memstore: delete object: %w", storage.ErrNotFound)
	}
	if !ifVersion.IsZero() && o.current().VersionID != ifVersion {
		return storage.ObjectRecord{}, fmt.Errorf("memstore: delete object: %w: the current version is another", storage.ErrVersionConflict)
	}
	s.remove(o)
	return meta(o.current()), nil
}
