package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/embedvault/vault/storage"
)

// writes is a transaction to be: what must not have changed, and what to write.
type writes struct {
	expected map[string]int64 // mod revisions; 0: isn't there
	present  map[string]int64 // create revisions
	empty    []span           // where nothing must be
	puts     map[string]string
	deletes  map[string]bool
	ranges   []span // to be deleted
}

func newWrites() *writes {
	return &writes{expected: map[string]int64{}, present: map[string]int64{}, puts: map[string]string{}, deletes: map[string]bool{}}
}

// expect has the transaction done only if the key was last changed at that
// revision.
func (w *writes) expect(key string, revision int64) { w.expected[key] = revision }

// expectStill has the transaction done only if the key, created at that
// revision, is still there, whatever its value.
func (w *writes) expectStill(key string, created int64) { w.present[key] = created }

func (w *writes) put(key, value string) { w.puts[key] = value }

// del deletes a key, unless it is put.
func (w *writes) del(key string) { w.deletes[key] = true }

// delRange deletes a span, but for what is put in it.
func (w *writes) delRange(sp span) { w.ranges = append(w.ranges, sp) }

func (w *writes) comparisons() []clientv3.Cmp {
	var cmps []clientv3.Cmp
	for _, k := range slices.Sorted(maps.Keys(w.expected)) {
		cmps = append(cmps, clientv3.Compare(clientv3.ModRevision(k), "=", w.expected[k]))
	}
	for _, k := range slices.Sorted(maps.Keys(w.present)) {
		cmps = append(cmps, clientv3.Compare(clientv3.CreateRevision(k), "=", w.present[k]))
	}
	for _, sp := range w.empty { // over a range it holds if it does for every key
		cmps = append(cmps, clientv3.Compare(clientv3.CreateRevision(sp.lo).WithRange(sp.hi), "=", 0))
	}
	return cmps
}

// operations returns what is to be done. etcd refuses a transaction that puts a
// key and deletes it, alone or in a range: ranges leave out what is put.
func (w *writes) operations() []clientv3.Op {
	var ops []clientv3.Op
	puts := slices.Sorted(maps.Keys(w.puts))
	for _, k := range puts {
		ops = append(ops, clientv3.OpPut(k, w.puts[k]))
	}
	for _, k := range slices.Sorted(maps.Keys(w.deletes)) {
		if _, put := w.puts[k]; !put {
			ops = append(ops, clientv3.OpDelete(k))
		}
	}
	for _, sp := range w.ranges {
		for _, k := range puts {
			if sp.lo <= k && k < sp.hi {
				if sp.lo < k {
					ops = append(ops, clientv3.OpDelete(sp.lo, clientv3.WithRange(k)))
				}
				sp.lo = after(k)
			}
		}
		if sp.lo < sp.hi {
			ops = append(ops, clientv3.OpDelete(sp.lo, clientv3.WithRange(sp.hi)))
		}
	}
	return ops
}

// framing is more than what the encoding of a request adds to one key and
// value.
const framing = 32

// size is how large the request will be at most.
func (w *writes) size() int {
	n := 1024
	for k := range w.expected {
		n += len(k) + framing
	}
	for k := range w.present {
		n += len(k) + framing
	}
	for k, v := range w.puts {
		n += len(k) + len(v) + framing
	}
	for k := range w.deletes {
		n += len(k) + framing
	}
	for _, sp := range slices.Concat(w.empty, w.ranges) {
		n += len(sp.lo) + len(sp.hi) + framing
	}
	return n
}

// errChanged says that what was expected is no longer so, and nothing was
// written.
var errChanged = errors.New("changed meanwhile")

// commit does the writes, if all is as expected, and returns the revision that
// they made.
func (s *Store) commit(ctx context.Context, w *writes) (revision int64, err error) {
	cmps, ops := w.comparisons(), w.operations()
	if err := s.fits(w.size()); err != nil {
		return 0, err
	}
	if len(cmps) > maxOps || len(ops) > maxOps {
		return 0, fmt.Errorf("%w: a transaction of %d comparisons and %d operations, etcd takes %d", storage.ErrTooLarge, len(cmps), len(ops), maxOps)
	}
	resp, err := s.transact(ctx, cmps, ops, refused)
	switch {
	case err != nil:
		return 0, err
	case !resp.Succeeded:
		return 0, errChanged
	}
	return resp.Header.Revision, nil
}

// fits refuses a request that etcd won't take.
func (s *Store) fits(size int) error {
	if size > s.maxRequest {
		return fmt.Errorf("%w: a request of %d bytes, etcd takes %d (--max-request-bytes)", storage.ErrTooLarge, size, s.maxRequest)
	}
	return nil
}

// debrisError is returned by a plan that meets debris: it has to be cleared
// away first.
type debrisError struct{ object storage.ID }

func (debrisError) Error() string { return "debris" }

// update plans a write on the store as it is and does it, again and again until
// nobody else has changed meanwhile what the plan relied on. A plan of nil is
// nothing to do. careful is set if an earlier plan came to nothing: it may have
// taken for granted what can't be.
func (s *Store) update(ctx context.Context, op string, plan func(r *snap, careful bool) (*writes, error)) (revision int64, err error) {
	err = ctx.Err()
	for attempt := 0; err == nil; attempt++ {
		var w *writes
		w, err = plan(&snap{s: s, ctx: ctx}, attempt > 0)
		if err == nil && w == nil {
			return 0, nil
		}
		if err == nil {
			revision, err = s.commit(ctx, w)
		}
		var debris debrisError
		switch {
		case err == nil:
			return revision, nil
		case errors.As(err, &debris):
			err = s.clear(ctx, debris.object)
		case errors.Is(err, errChanged), errors.Is(err, errCompacted):
			err = pause(ctx, attempt)
		}
	}
	return 0, fmt.Errorf("etcdstore: %s: %w", op, err)
}
