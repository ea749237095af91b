package etcdstore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/etcdstore"
)

// hook is called with every transaction that was answered, and its error. It
// returns the one that the client sees.
type hook func(txn *pb.TxnRequest, err error) error

// hooked connects to the shared cluster. The hook may be set later.
func hooked(t *testing.T) (*clientv3.Client, *atomic.Pointer[hook]) {
	t.Helper()
	set := new(atomic.Pointer[hook])
	client, err := clientv3.New(clientv3.Config{
		Endpoints: connectShared(t).Endpoints(), Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithChainUnaryInterceptor(
			func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
				err := invoke(ctx, method, req, reply, cc, opts...)
				if txn, ok := req.(*pb.TxnRequest); ok && set.Load() != nil {
					err = (*set.Load())(txn, err)
				}
				return err
			})},
	})
	must(t, err)
	t.Cleanup(func() { _ = client.Close() })
	return client, set
}

// TestAnswerLost has etcd do a write whose answer is lost. It is unknown then,
// and never said not to have been done; done again it says what is there.
func TestAnswerLost(t *testing.T) {
	t.Parallel()
	for _, code := range []codes.Code{codes.Unavailable, codes.Internal, codes.Unknown} {
		client, set := hooked(t)
		s := newStore(t, client, etcdstore.Options{})
		lose := hook(func(txn *pb.TxnRequest, err error) error {
			if err == nil && isWrite(txn) {
				err = status.Error(code, "the connection broke")
			}
			return err
		})
		k, first := key(t, 1, 1), object(t, 1, "a")
		next := object(t, 1, "a")
		sys := storage.SystemRecord{Name: "s", Value: []byte("v")}
		for _, c := range []struct {
			name  string
			do    func() error
			again error
		}{
			{"insert", func() error { return s.InsertKey(t.Context(), k) }, storage.ErrExists},
			{"update", func() error { return s.UpdateKey(t.Context(), withRevision(k, 1)) }, storage.ErrVersionConflict},
			{"put", func() error { return errOf(s.PutObject(t.Context(), first, storage.PutGuard{IfAbsent: true})) }, storage.ErrExists},
			{"follow", func() error {
				return errOf(s.PutObject(t.Context(), next, storage.PutGuard{IfVersion: first.VersionID}))
			}, storage.ErrVersionConflict},
			{"replace", func() error {
				return s.ReplaceEnvelope(t.Context(), first.ID, next.VersionID, next.KeyID, k.KeyID, []byte("again"))
			}, storage.ErrVersionConflict},
			{"system", func() error { return errOf(s.PutSystem(t.Context(), sys)) }, storage.ErrExists},
			{"delete", func() error {
				return errOf(s.DeleteObject(t.Context(), storage.ObjectRef{ID: first.ID}, next.VersionID))
			}, storage.ErrNotFound},
			{"import", func() error { return s.ImportVersion(t.Context(), withNumber(first, 7)) }, nil},
			{"delete key", func() error { return s.DeleteKey(t.Context(), k.KeyID, 2) }, storage.ErrNotFound},
		} {
			set.Store(&lose)
			err := c.do()
			set.Store(nil)
			if !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, storage.ErrExists) || errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrVersionConflict) {
				t.Errorf("%v, %s: got %v", code, c.name, err)
			}
			if err := c.do(); !errors.Is(err, c.again) {
				t.Errorf("%v, %s, again: got %v, want %v", code, c.name, err, c.again)
			}
		}
		must(t, s.Audit(t.Context(), false))
	}
}

func isWrite(txn *pb.TxnRequest) bool {
	return slices.ContainsFunc(txn.Success, func(op *pb.RequestOp) bool { return op.GetRequestRange() == nil })
}

func withRevision(k storage.KeyRecord, n uint64) storage.KeyRecord {
	k.Revision = n
	return k
}

func withNumber(r storage.ObjectRecord, n uint64) storage.ObjectRecord {
	r.Number, r.CreatedAt = n, r.UpdatedAt
	return r
}

// TestCompactedWithinAPage compacts a page's revision when its rows are read and
// its envelopes are not. What it is when read again is returned, and nothing of
// the first time.
func TestCompactedWithinAPage(t *testing.T) {
	client, set := hooked(t)
	o := etcdstore.Options{Prefix: newPrefix()}
	s, plain := newStore(t, client, o), connectShared(t)
	other := newStore(t, plain, o)
	large := func(r *storage.ObjectRecord) { r.Envelope = make([]byte, 5000) }
	a, b := put(t, s, object(t, 1, "a", large)), put(t, s, object(t, 1, "b", large))
	put(t, s, object(t, 1, "a", large))
	for name, list := range map[string]func() (storage.ObjectPage, error){
		"objects": func() (storage.ObjectPage, error) {
			return s.ListObjects(t.Context(), storage.ObjectQuery{Contexts: allOf, Limit: 1, WithEnvelope: true})
		},
		"versions": func() (storage.ObjectPage, error) {
			return s.ListVersions(t.Context(), storage.VersionQuery{Object: a.ID, Limit: 1, WithEnvelope: true})
		},
	} {
		removed := false
		remove := hook(func(txn *pb.TxnRequest, err error) error {
			if removed || txn.Success[0].GetRequestRange().GetRangeEnd() == nil {
				return err // it hasn't read the rows yet
			}
			removed = true
			if name == "objects" {
				_, err = other.DeleteObject(t.Context(), storage.ObjectRef{ID: b.ID}, storage.ID{})
			} else {
				_, err = other.PutObject(t.Context(), object(t, 1, "a", large), storage.PutGuard{Keep: 1})
			}
			must(t, err)
			resp, err := plain.Get(t.Context(), "x")
			must(t, err)
			return errOf(plain.Compact(t.Context(), resp.Header.Revision))
		})
		set.Store(&remove)
		page, err := list()
		set.Store(nil)
		if err != nil || len(page.Objects) != 1 || page.Next != "" {
			t.Errorf("%s: %d rows, next %q, %v", name, len(page.Objects), page.Next, err)
		}
	}
}

// TestMemberCutOff has a member that the client reaches and the other members
// don't. It must not answer with what it knows, and the calls that come to it
// must go elsewhere.
func TestMemberCutOff(t *testing.T) {
	t.Parallel()
	c, err := newCluster(t.TempDir(), 3, unsynced)
	must(t, err)
	t.Cleanup(c.stopAll)
	away := (c.leader() + 1) % 3
	o := etcdstore.Options{Prefix: newPrefix()}
	s, alone := newStore(t, connect(t, c), o), newStore(t, connect(t, c, away), o)
	others := newStore(t, connect(t, c, (away+1)%3, (away+2)%3), o)
	old, k := key(t, 1, 1), key(t, 1, 2)
	must(t, others.InsertKey(t.Context(), old))
	for _, one := range []*etcdstore.Store{s, alone} {
		must(t, one.Ping(t.Context()))
	}

	c.cut(away)
	for end := time.Now().Add(30 * time.Second); ; { // more than once if just then another came to lead
		err := others.InsertKey(t.Context(), k)
		if err == nil || errors.Is(err, storage.ErrExists) {
			break
		}
		if !errors.Is(err, storage.ErrUnavailable) || time.Now().After(end) {
			t.Fatal(err)
		}
	}
	// For half a second it doesn't know that it is cut off.
	err = within(t, 300*time.Millisecond, func(ctx context.Context) error {
		return errOf(alone.LatestKey(ctx, k.ContextHash, k.Purpose))
	})
	if !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("it answers with what was: %v", err)
	}

	for end := time.Now().Add(30 * time.Second); c.members[away].Server.Leader() != 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the member doesn't notice")
		}
	}
	for i := range 20 { // the client asks its members in turn
		err := within(t, 20*time.Second, func(ctx context.Context) error {
			_, err := s.LatestKey(ctx, k.ContextHash, k.Purpose)
			_, err2 := s.PutObject(ctx, object(t, 1, fmt.Sprint("n", i)), storage.PutGuard{})
			return errors.Join(err, err2)
		})
		must(t, err)
	}
	err = within(t, 500*time.Millisecond, func(ctx context.Context) error {
		return errOf(alone.LatestKey(ctx, k.ContextHash, keyctx.PurposeIndex))
	})
	if !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, storage.ErrNotFound) {
		t.Errorf("asked alone: %v", err)
	}
}

// cut drops what a member and the others send each other.
func (c *cluster) cut(i int) {
	for j, other := range c.members {
		if j != i {
			other.Server.CutPeer(c.members[i].Server.MemberID())
			c.members[i].Server.CutPeer(other.Server.MemberID())
		}
	}
}
