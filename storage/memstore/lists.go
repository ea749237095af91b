package memstore

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// ListObjects implements [storage.ObjectStore].
func (s *Store) ListObjects(ctx context.Context, q storage.ObjectQuery) (storage.ObjectPage, error) {
	if err := s.begin(ctx, "ListObjects"); err != nil {
		return storage.ObjectPage{}, err
	}
	pos, err := q.CursorPosition(driver)
	if err := firstError(q.Validate(), err); err != nil {
		return storage.ObjectPage{}, fmt.Errorf("memstore: list objects: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var rows rows[*storage.ObjectRecord]
	for _, o := range s.objects {
		if r := o.current(); selects(q, r) {
			rows.add(objectPosition(q.Order, r), r)
		}
	}
	page, more := rows.page(pos, q.Descending, q.Limit)
	out := storage.ObjectPage{Objects: records(page, q.WithEnvelope)}
	if more {
		out.Next = q.NextCursor(driver, []byte(page[len(page)-1].position))
	}
	return out, nil
}

func selects(q storage.ObjectQuery, r *storage.ObjectRecord) bool {
	return q.Contexts.Matches(r.Context, r.ContextHash) &&
		strings.HasPrefix(r.Name, q.NamePrefix) &&
		(q.UpdatedAfter.IsZero() || r.UpdatedAt.After(q.UpdatedAfter)) &&
		(q.IncludeExpired || !r.Expired(q.Now))
}

func objectPosition(order storage.Order, r *storage.ObjectRecord) string {
	b := append([]byte(nil), r.ContextHash[:]...)
	if order == storage.OrderByName {
		return string(append(b, r.Name...))
	}
	// The sign bit is turned, so that times before 1970 come first.
	b = binary.BigEndian.AppendUint64(b, uint64(r.UpdatedAt.UnixMicro())^1<<63)
	return string(append(b, r.ID[:]...))
}

func records(page rows[*storage.ObjectRecord], withEnvelope bool) []storage.ObjectRecord {
	var out []storage.ObjectRecord
	for _, row := range page {
		if withEnvelope {
			out = append(out, row.value.Clone())
		} else {
			out = append(out, meta(row.value))
		}
	}
	return out
}

// ListVersions implements [storage.ObjectStore].
func (s *Store) ListVersions(ctx context.Context, q storage.VersionQuery) (storage.ObjectPage, error) {
	if err := s.begin(ctx, "ListVersions"); err != nil {
		return storage.ObjectPage{}, err
	}
	pos, err := q.CursorPosition(driver)
	if err != nil {
		return storage.ObjectPage{}, fmt.Errorf("memstore: list versions: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.ids[q.Object]
	if !q.IncludeExpired {
		o = live(o, q.Now)
	}
	if o == nil {
		return storage.ObjectPage{}, nil
	}
	var rows rows[*storage.ObjectRecord]
	for _, r := range o.versions {
		if q.IncludeExpired || !r.Expired(q.Now) {
			rows.add(string(binary.BigEndian.AppendUint64(nil, r.Number)), r)
		}
	}
	page, more := rows.page(pos, !q.Ascending, q.Limit)
	out := storage.ObjectPage{Objects: records(page, q.WithEnvelope)}
	if more {
		out.Next = q.NextCursor(driver, []byte(page[len(page)-1].position))
	}
	return out, nil
}

// CountByKey implements [storage.ObjectStore].
func (s *Store) CountByKey(ctx context.Context, id keyctx.KeyID) (int64, error) {
	if err := s.begin(ctx, "CountByKey"); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.byKey(id))), nil
}

func (s *Store) byKey(id keyctx.KeyID) (out rows[*storage.ObjectRecord]) {
	for _, o := range s.objects {
		for _, r := range o.versions {
			if r.KeyID == id {
				out.add(string(binary.BigEndian.AppendUint64(r.ID[:], r.Number)), r)
			}
		}
	}
	return out
}

// ListByKey implements [storage.ObjectStore].
func (s *Store) ListByKey(ctx context.Context, q storage.ByKeyQuery) (storage.ObjectPage, error) {
	if err := s.begin(ctx, "ListByKey"); err != nil {
		return storage.ObjectPage{}, err
	}
	pos, err := q.CursorPosition(driver)
	if err != nil {
		return storage.ObjectPage{}, fmt.Errorf("memstore: list by key: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	page, more := s.byKey(q.KeyID).page(pos, false, q.Limit)
	out := storage.ObjectPage{Objects: records(page, false)}
	if more {
		out.Next = q.NextCursor(driver, []byte(page[len(page)-1].position))
	}
	return out, nil
}

// DeleteExpired implements [storage.ObjectStore].
func (s *Store) DeleteExpired(ctx context.Context, namespace string, now time.Time, limit int) ([]storage.ObjectRecord, error) {
	if err := s.begin(ctx, "DeleteExpired"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []storage.ObjectRecord
	for _, o := range s.objects {
		if len(out) == storage.PageLimit(limit) {
			break
		}
		if r := o.current(); r.Context.Namespace() == namespace && r.Expired(now) {
			out = append(out, meta(r))
			s.remove(o) // a map may lose entries while it is ranged over
		}
	}
	return out, nil
}
