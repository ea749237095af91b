package sqlcore

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/embedvault/vault/storage"
)

// GetSystem implements [storage.SystemStore].
func (s *Store) GetSystem(ctx context.Context, name string) (rec storage.SystemRecord, err error) {
	err = s.keys(ctx, "get system record", false, func(q Session) error {
		var value []byte
		var revision int64
		ok, err := s.st.getSystem.row(ctx, q, []any{&value, &revision}, []byte(name))
		if err == nil && !ok {
			err = storage.ErrNotFound
		}
		rec = storage.SystemRecord{Name: name, Value: value, Revision: uint64(revision)}
		return err
	})
	if err != nil {
		return storage.SystemRecord{}, err
	}
	return rec, nil
}

// PutSystem implements [storage.SystemStore]. A new record starts at a random
// revision: who remembers one of a record that was removed and made again must
// not find it.
func (s *Store) PutSystem(ctx context.Context, rec storage.SystemRecord) (revision uint64, err error) {
	if err := rec.Validate(); err != nil {
		return 0, s.fail(ctx, "put system record", err)
	}
	value := append([]byte{}, rec.Value...)
	revision = rec.Revision + 1
	if rec.Revision == 0 {
		revision = uint64(rand.Int64N(1<<62)) + 1
	}
	err = s.keys(ctx, "put system record "+rec.Name, true, func(q Session) error {
		if rec.Revision != 0 {
			return s.swap(ctx, q, s.st.updateSystem, s.st.systemRevision, []any{[]byte(rec.Name), int64(rec.Revision), value}, []byte(rec.Name), rec.Revision)
		}
		fresh, err := s.insert(ctx, q, s.st.insertSystem, []byte(rec.Name), value, int64(revision))
		if err == nil && !fresh {
			err = storage.ErrExists
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return revision, nil
}

// DeleteSystem implements [storage.SystemStore].
func (s *Store) DeleteSystem(ctx context.Context, name string, revision uint64) error {
	return s.keys(ctx, "delete system record", true, func(q Session) error {
		return s.swap(ctx, q, s.st.deleteSystem, s.st.systemRevision, []any{[]byte(name), int64(revision)}, []byte(name), revision)
	})
}

// ListSystem implements [storage.SystemStore].
func (s *Store) ListSystem(ctx context.Context, prefix, after string, limit int) (out []storage.SystemRecord, err error) {
	err = s.keys(ctx, "list system records", false, func(q Session) error {
		out = nil
		b := builder{lang: s.lang}
		b.add("SELECT name, value, revision FROM {system} WHERE name > {bytes} AND name >= {bytes}", []byte(after), []byte(prefix))
		if end := prefixEnd([]byte(prefix)); end != nil {
			b.add(" AND name < {bytes}", end)
		}
		b.add(fmt.Sprintf(" ORDER BY name LIMIT %d", storage.PageLimit(limit)))
		return b.query(ctx, q, func(scan func(...any) error) error {
			var name, value []byte
			var revision int64
			err := scan(&name, &value, &revision)
			out = append(out, storage.SystemRecord{Name: string(name), Value: value, Revision: uint64(revision)})
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// prefixEnd is the first string after all that start with prefix; nil: there is
// none.
func prefixEnd(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] < 0xff {
			end := append([]byte{}, prefix[:i+1]...)
			end[i]++
			return end
		}
	}
	return nil
}
