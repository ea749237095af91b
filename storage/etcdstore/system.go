package etcdstore

import (
	"bytes"
	"context"
	"fmt"

	"github.com/embedvault/vault/storage"
)

// systemFormat starts the value of a system record.
const systemFormat = 0x31

func (s *Store) systemKey(name string) string { return s.key(tagSystem, name) }

func (s *Store) systemRecord(e *entry) (storage.SystemRecord, error) {
	if len(e.Value) == 0 || e.Value[0] != systemFormat {
		return storage.SystemRecord{}, fmt.Errorf("%w: a system record", storage.ErrCorrupt)
	}
	return storage.SystemRecord{
		Name:     string(e.Key[len(s.systemKey("")):]),
		Revision: uint64(e.ModRevision),
		Value:    bytes.Clone(e.Value[1:]),
	}, nil
}

// GetSystem implements [storage.SystemStore].
func (s *Store) GetSystem(ctx context.Context, name string) (rec storage.SystemRecord, err error) {
	err = s.view(ctx, "get system record", func(r *snap) error {
		es, err := r.get(s.systemKey(name))
		if err != nil {
			return err
		}
		if es[0] == nil {
			return storage.ErrNotFound
		}
		rec, err = s.systemRecord(es[0])
		return err
	})
	return rec, err
}

// systemAt checks that the record is at that revision.
func (r *snap) systemAt(name string, revision uint64) error {
	es, err := r.get(r.s.systemKey(name))
	switch {
	case err != nil:
		return err
	case es[0] == nil:
		return storage.ErrNotFound
	case uint64(es[0].ModRevision) != revision:
		return fmt.Errorf("%w: it is at revision %d, not %d", storage.ErrVersionConflict, es[0].ModRevision, revision)
	}
	return nil
}

// PutSystem implements [storage.SystemStore]. The revision is etcd's: none is
// given twice, so that a record that was deleted and made again is seen to be
// another one.
func (s *Store) PutSystem(ctx context.Context, rec storage.SystemRecord) (revision uint64, err error) {
	n, err := s.update(ctx, "put system record", func(r *snap, _ bool) (*writes, error) {
		if err := rec.Validate(); err != nil {
			return nil, err
		}
		key := s.systemKey(rec.Name)
		if rec.Revision != 0 {
			if err := r.systemAt(rec.Name, rec.Revision); err != nil {
				return nil, err
			}
		} else if es, err := r.get(key); err != nil {
			return nil, err
		} else if es[0] != nil {
			return nil, storage.ErrExists
		}
		w := newWrites()
		w.expect(key, int64(rec.Revision))
		w.put(key, string(rune(systemFormat))+string(rec.Value))
		return w, nil
	})
	return uint64(n), err
}

// DeleteSystem implements [storage.SystemStore].
func (s *Store) DeleteSystem(ctx context.Context, name string, revision uint64) error {
	_, err := s.update(ctx, "delete system record", func(r *snap, _ bool) (*writes, error) {
		if err := r.systemAt(name, revision); err != nil {
			return nil, err
		}
		w := newWrites()
		w.expect(s.systemKey(name), int64(revision))
		w.del(s.systemKey(name))
		return w, nil
	})
	return err
}

// ListSystem implements [storage.SystemStore].
func (s *Store) ListSystem(ctx context.Context, prefix, after string, limit int) (out []storage.SystemRecord, err error) {
	sp := prefixSpan(s.systemKey(prefix))
	if after != "" {
		sp = sp.from(s.systemKey(after) + "\x00")
	}
	n := storage.PageLimit(limit)
	err = s.view(ctx, "list system records", func(r *snap) error {
		out = nil
		err := r.scan(sp, func() int { return n - len(out) }, func(es []*entry) error {
			for _, e := range es {
				rec, err := s.systemRecord(e)
				if err != nil {
					return err
				}
				out = append(out, rec)
			}
			if len(out) == n {
				return errFull
			}
			return nil
		})
		return full(err)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
