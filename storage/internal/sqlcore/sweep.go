package sqlcore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/embedvault/vault/storage"
)

const (
	sweepChunk   = 50   // objects that one transaction of a sweep removes
	sweepDamaged = 1000 // objects that can't be read, after which it gives up
)

// DeleteExpired implements [storage.ObjectStore]: a transaction for each 50
// objects. If one fails, what those before it removed is returned with the
// error. In the application's transaction nothing is then: that is to be rolled
// back, or is gone already.
//
// Objects whose rows can't be read stay. Up to 1000 of them keep no others from
// being removed, and the error in the end, which matches [storage.ErrCorrupt],
// tells of them.
func (s *Store) DeleteExpired(ctx context.Context, namespace string, now time.Time, limit int) ([]storage.ObjectRecord, error) {
	const op = "delete expired objects"
	w := sweep{s: s, namespace: []byte(namespace), now: s.lang.time(now)}
	n := storage.PageLimit(limit)
	for more := true; more && len(w.removed) < n && len(w.damaged) < sweepDamaged; {
		var c chunk
		err := s.objectsTx(ctx, op, func(q Querier) (err error) {
			c, err = w.chunk(ctx, q, min(sweepChunk, n-len(w.removed)))
			return err
		})
		switch {
		case err != nil && s.db.Joined(ctx) != nil:
			return nil, err
		case err != nil:
			return w.removed, err
		}
		more = w.add(c)
	}
	return w.removed, s.fail(ctx, op, w.left())
}

// sweep is what the transactions of a sweep have done.
type sweep struct {
	s         *Store
	namespace []byte
	now       any // a parameter

	removed []storage.ObjectRecord
	damaged []storage.ID // objects that can't be read
	first   error        // of the first of these
}

// chunk is what one transaction does.
type chunk struct {
	removed []storage.ObjectRecord
	damaged []storage.ID
	first   error
	last    bool // there were no more
}

// add reports whether to go on.
func (w *sweep) add(c chunk) bool {
	w.removed = append(w.removed, c.removed...)
	w.damaged = append(w.damaged, c.damaged...)
	if w.first == nil {
		w.first = c.first
	}
	return !c.last
}

func (w *sweep) left() error {
	if w.first == nil {
		return nil
	}
	return fmt.Errorf("%d objects stay, as they can't be read: the first: %w", len(w.damaged), w.first)
}

// chunk removes up to want objects, those first that expired first. The damaged
// ones that are known are found again, and passed over.
func (w *sweep) chunk(ctx context.Context, q Querier, want int) (c chunk, err error) {
	ids, err := w.expired(ctx, q, want+len(w.damaged))
	if err != nil {
		return c, err
	}
	c.last = len(ids) < want+len(w.damaged)
	var known contexts
	for _, id := range ids {
		if slices.Contains(w.damaged, id) {
			continue
		}
		rec, err := w.s.take(ctx, q, id, &known)
		switch {
		case err == nil:
			c.removed = append(c.removed, rec)
		case !errors.Is(err, storage.ErrCorrupt), errors.Is(err, errNoContext) && !w.s.certain(ctx, q):
			return c, err
		default:
			c.damaged = append(c.damaged, id)
			if c.first == nil {
				c.first = err
			}
		}
	}
	return c, nil
}

// expired locks the first n objects that have expired.
func (w *sweep) expired(ctx context.Context, q Querier, n int) (ids []storage.ID, err error) {
	err = w.s.st.expired.query(ctx, q, func(scan func(...any) error) error {
		var row lockedRow
		err := scan(row.dest()...)
		ids = append(ids, storage.ID(row.id))
		return err
	}, w.namespace, w.now, int64(n))
	return ids, err
}
