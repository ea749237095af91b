package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"

	"github.com/embedvault/vault/storage"
)

const (
	// maxOps is how many operations, and how many comparisons, etcd takes in a
	// transaction (embed.DefaultMaxTxnOps).
	maxOps = 128

	// patience is how long a request is tried again while etcd is away, say
	// because one member was stopped or cut off and the next goes to another.
	patience = 3 * time.Second

	// maxAnswer is how many bytes of envelopes one request asks for.
	maxAnswer = 8 << 20

	// maxEntries is how many entries of a range one request asks for: a page at
	// once, as etcd counts what follows for each request.
	maxEntries = 1024

	maxCompactions = 5
)

// entry is a key with its value and the revision of its last change.
type entry = mvccpb.KeyValue

// snap reads the store as it was at one revision: that of its first read. It is
// used by one goroutine.
type snap struct {
	s   *Store
	ctx context.Context
	rev int64 // 0: nothing was read yet
}

// read is one read of many that go together.
type read struct {
	span          // hi "": just lo
	limit     int // 0: none
	keysOnly  bool
	countOnly bool
	last      bool // the last key instead of the first; etcd looks at all of them
}

type answer struct {
	entries []*entry
	count   int64
	more    bool
}

func (q read) op(rev int64) clientv3.Op {
	var opts []clientv3.OpOption
	if q.hi != "" {
		opts = append(opts, clientv3.WithRange(q.hi))
	}
	if q.limit > 0 {
		opts = append(opts, clientv3.WithLimit(int64(q.limit)))
	}
	if q.keysOnly {
		opts = append(opts, clientv3.WithKeysOnly())
	}
	if q.countOnly {
		opts = append(opts, clientv3.WithCountOnly())
	}
	if q.last {
		opts = append(opts, clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend), clientv3.WithLimit(1))
	}
	if rev > 0 {
		opts = append(opts, clientv3.WithRev(rev))
	}
	return clientv3.OpGet(q.lo, opts...)
}

// do does the reads, as many at a time as etcd takes.
func (r *snap) do(reads ...read) ([]answer, error) {
	answers := make([]answer, 0, len(reads))
	for len(reads) > 0 {
		n := min(len(reads), maxOps)
		ops := make([]clientv3.Op, n)
		for i, q := range reads[:n] {
			ops[i] = q.op(r.rev)
		}
		resp, err := r.s.transact(r.ctx, nil, ops, away)
		if err != nil {
			return nil, err
		}
		if len(resp.Responses) != n {
			return nil, fmt.Errorf("%w: etcd gave %d answers to %d reads", storage.ErrUnavailable, len(resp.Responses), n)
		}
		if r.rev == 0 {
			r.rev = resp.Header.Revision
		}
		for _, a := range resp.Responses {
			g := a.GetResponseRange()
			answers = append(answers, answer{g.GetKvs(), g.GetCount(), g.GetMore()})
		}
		reads = reads[n:]
	}
	return answers, nil
}

// transact sends a transaction, and again for a moment, to the next member, if
// it failed and again says so: the client itself never does that with
// transactions. The caller who wants more has a ctx.
func (s *Store) transact(ctx context.Context, cmps []clientv3.Cmp, ops []clientv3.Op, again func(error) bool) (*clientv3.TxnResponse, error) {
	start := time.Now()
	for attempt := 0; ; attempt++ {
		resp, err := s.request(ctx, cmps, ops)
		if err == nil {
			return resp, nil
		}
		if !again(err) || time.Since(start) > patience || pause(ctx, attempt) != nil {
			return nil, classify(ctx, err)
		}
	}
}

// away says of reads that another member may answer.
func away(err error) bool { return code(err) == codes.Unavailable }

// refused says of writes that another member may do it, and that this one has
// certainly done nothing: it found itself without a leader before it looked at
// the request.
func refused(err error) bool { return errors.Is(err, rpctypes.ErrNoLeader) }

// request sends a transaction. It never waits for longer than the options say:
// the client waits for a member to come back as long as ctx goes on. A member
// without a leader, cut off from the others, refuses at once.
func (s *Store) request(ctx context.Context, cmps []clientv3.Cmp, ops []clientv3.Op) (*clientv3.TxnResponse, error) {
	if s.client.Ctx().Err() != nil { // the client would try for seconds
		return nil, storage.ErrClosed
	}
	bounded, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), s.timeout)
	defer cancel()
	resp, err := s.client.Txn(bounded).If(cmps...).Then(ops...).Commit()
	if err != nil && bounded.Err() != nil && ctx.Err() == nil {
		// Not wrapped: it is not the caller's ctx that ended.
		err = fmt.Errorf("no answer within %v: %v", s.timeout, err)
	}
	return resp, err
}

// pause waits before the next attempt, longer each time.
func pause(ctx context.Context, attempt int) error {
	most := min(time.Duration(2)<<min(attempt, 10)*time.Millisecond, 40*time.Millisecond)
	t := time.NewTimer(rand.N(most) + most/8)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", storage.ErrUnavailable, ctx.Err())
	case <-t.C:
		return nil
	}
}

// get returns the entries with these keys, nil for those that aren't there.
func (r *snap) get(keys ...string) ([]*entry, error) {
	reads := make([]read, len(keys))
	for i, k := range keys {
		reads[i] = read{span: span{lo: k}}
	}
	answers, err := r.do(reads...)
	if err != nil {
		return nil, err
	}
	entries := make([]*entry, len(keys))
	for i, a := range answers {
		if len(a.entries) > 0 {
			entries[i] = a.entries[0]
		}
	}
	return entries, nil
}

func modRevision(e *entry) int64 {
	if e == nil {
		return 0
	}
	return e.ModRevision
}

// scan visits the entries of a span in order, some at a time. want says how
// many more are wanted. errFull, returned by visit, ends it.
func (r *snap) scan(sp span, want func() int, visit func([]*entry) error) error {
	for sp.lo < sp.hi {
		a, err := r.do(read{span: sp, limit: min(want(), maxEntries)})
		if err != nil {
			return err
		}
		if len(a[0].entries) == 0 {
			return nil
		}
		if err := visit(a[0].entries); err != nil || !a[0].more {
			return err
		}
		sp.lo = after(string(a[0].entries[len(a[0].entries)-1].Key))
	}
	return nil
}

// view runs fn on the store as it is now. op is for the error.
func (s *Store) view(ctx context.Context, op string, fn func(*snap) error) error {
	err := ctx.Err()
	for i := 0; err == nil; i++ {
		err = fn(&snap{s: s, ctx: ctx})
		if err == nil {
			return nil
		}
		if errors.Is(err, errCompacted) {
			if i < maxCompactions {
				err = nil
				continue
			}
			err = fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
		}
	}
	return fmt.Errorf("etcdstore: %s: %w", op, err)
}
