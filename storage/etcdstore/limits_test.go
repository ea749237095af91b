package etcdstore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/etcdstore"
)

func rangeOf(prefix string) clientv3.OpOption {
	return clientv3.WithRange(clientv3.GetPrefixRangeEnd(prefix))
}

// TestLargestValue puts the largest value that the store takes, which etcd must
// take, and one byte more, which must not get as far as etcd.
func TestLargestValue(t *testing.T) {
	client := connectShared(t)
	for _, limit := range []int{0, 300 << 10} {
		s := newStore(t, client, etcdstore.Options{MaxRequestBytes: limit})
		r := object(t, 1, "a")
		n := s.LargestEnvelope(r)
		if limit == 0 && n < 1500<<10 {
			t.Errorf("of a request of 1.5 MiB only %d bytes are a value's", n)
		}
		r.Envelope = make([]byte, n+1)
		_, err := s.PutObject(t.Context(), r, storage.PutGuard{})
		if !errors.Is(err, storage.ErrTooLarge) || !strings.Contains(err.Error(), "--max-request-bytes") || errors.Is(err, rpctypes.ErrRequestTooLarge) {
			t.Errorf("one byte too many: %v", err)
		}
		if _, err := s.GetObject(t.Context(), storage.ObjectRef{ID: r.ID}); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("something was written: %v", err)
		}
		r.Envelope = r.Envelope[:n]
		put(t, s, r)
		put(t, s, object(t, 1, "a", func(v *storage.ObjectRecord) { v.Envelope = r.Envelope[:n-100] })) // its past doesn't count
	}
}

// TestEtcdsOwnLimit has a member that takes less than the options say.
func TestEtcdsOwnLimit(t *testing.T) {
	s := newStore(t, connectShared(t), etcdstore.Options{MaxRequestBytes: 1900 << 10})
	_, err := s.PutObject(t.Context(), object(t, 1, "a", func(r *storage.ObjectRecord) { r.Envelope = make([]byte, 1700<<10) }), storage.PutGuard{})
	if !errors.Is(err, storage.ErrTooLarge) || !errors.Is(err, rpctypes.ErrRequestTooLarge) {
		t.Errorf("got %v", err)
	}
	s = newStore(t, connectShared(t), etcdstore.Options{MaxRequestBytes: 8 << 20})
	_, err = s.PutObject(t.Context(), object(t, 1, "a", func(r *storage.ObjectRecord) { r.Envelope = make([]byte, 7<<20) }), storage.PutGuard{})
	if !errors.Is(err, storage.ErrTooLarge) {
		t.Errorf("beyond the client's own limit: %v", err)
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: connectShared(t).Endpoints(), Logger: zap.NewNop(), MaxCallSendMsgSize: 9 << 20})
	must(t, err)
	defer client.Close()
	s = newStore(t, client, etcdstore.Options{MaxRequestBytes: 8 << 20})
	_, err = s.PutObject(t.Context(), object(t, 1, "a", func(r *storage.ObjectRecord) { r.Envelope = make([]byte, 7<<20) }), storage.PutGuard{})
	if !errors.Is(err, storage.ErrTooLarge) || errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("beyond what etcd reads at all: %v", err)
	}
}

func TestOptions(t *testing.T) {
	// No I/O: nobody listens there.
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{"127.0.0.1:1"}})
	must(t, err)
	defer client.Close()
	for _, prefix := range []string{"", "v/", "A-Z_a.z/09/", strings.Repeat("p", 127) + "/"} {
		if _, err := etcdstore.New(client, etcdstore.Options{Prefix: prefix}); err != nil {
			t.Errorf("prefix %q: %v", prefix, err)
		}
	}
	for _, prefix := range []string{"v", "/v", "v /", "v\x00/", "v\x01/", "ä/", "v/*", strings.Repeat("p", 128) + "/"} {
		if _, err := etcdstore.New(client, etcdstore.Options{Prefix: prefix}); err == nil {
			t.Errorf("prefix %q was taken", prefix)
		}
	}
	for _, n := range []int{-1, 1, 100 << 10} {
		if _, err := etcdstore.New(client, etcdstore.Options{MaxRequestBytes: n}); err == nil {
			t.Errorf("a limit of %d bytes was taken", n)
		}
	}
	if _, err := etcdstore.New(client, etcdstore.Options{RequestTimeout: -1}); err == nil {
		t.Error("a negative time was taken")
	}
	if _, err := etcdstore.New(nil); err == nil {
		t.Error("no client was taken")
	}
	if _, err := etcdstore.New(client, etcdstore.Options{}, etcdstore.Options{}); err == nil {
		t.Error("two Options were taken")
	}
}

// TestNobodyListens wants calls to end with their ctx, or by themselves.
func TestNobodyListens(t *testing.T) {
	t.Parallel()
	address, err := freeAddress()
	must(t, err)
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{address.String()}, Logger: zap.NewNop()})
	must(t, err)
	defer client.Close()
	s := newStore(t, client, etcdstore.Options{RequestTimeout: 500 * time.Millisecond})
	err = within(t, 200*time.Millisecond, func(ctx context.Context) error {
		_, err := s.LatestKey(ctx, object(t, 1, "a").ContextHash, 1)
		return err
	})
	if !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, storage.ErrNotFound) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	start := time.Now()
	err = s.Ping(t.Context()) // which has no end
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	if !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestClosedClient(t *testing.T) {
	client := connectShared(t)
	s := newStore(t, client, etcdstore.Options{})
	must(t, s.Ping(t.Context()))
	must(t, client.Close())
	if err := s.Ping(t.Context()); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if _, err := s.PutObject(t.Context(), object(t, 1, "a"), storage.PutGuard{}); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// TestCompacted compacts what is being read.
func TestCompacted(t *testing.T) {
	t.Parallel()
	client := connectShared(t)
	s := newStore(t, client, etcdstore.Options{})
	compact := func(revision int64) {
		put(t, s, object(t, 1, fmt.Sprint(rand.Int64())))
		_, err := client.Compact(t.Context(), revision+1)
		must(t, err)
	}
	first := true
	n, err := s.ReadTwice(t.Context(), func(revision int64) {
		if first {
			first = false
			compact(revision)
		}
	})
	if err != nil || n != 2 {
		t.Errorf("read %d times, %v", n, err)
	}
	if _, err = s.ReadTwice(t.Context(), compact); !errors.Is(err, storage.ErrUnavailable) || !errors.Is(err, rpctypes.ErrCompacted) {
		t.Errorf("compacted again and again: %v", err)
	}
}

// TestDenied has a user who may write elsewhere only.
func TestDenied(t *testing.T) {
	t.Parallel()
	c, err := newCluster(t.TempDir(), 1, func(cfg *embed.Config) {
		unsynced(cfg)
		cfg.BcryptCost = 4 // the least
	})
	must(t, err)
	defer c.stopAll()
	root := connect(t, c)
	ctx := t.Context()
	for _, err := range []error{
		errOf(root.UserAdd(ctx, "root", "secret")), errOf(root.UserGrantRole(ctx, "root", "root")),
		errOf(root.RoleAdd(ctx, "vault")), errOf(root.UserAdd(ctx, "vault", "secret")), errOf(root.UserGrantRole(ctx, "vault", "vault")),
		errOf(root.RoleGrantPermission(ctx, "vault", "mine/", clientv3.GetPrefixRangeEnd("mine/"), clientv3.PermissionType(clientv3.PermReadWrite))),
		errOf(root.RoleGrantPermission(ctx, "vault", "read/", clientv3.GetPrefixRangeEnd("read/"), clientv3.PermissionType(clientv3.PermRead))),
		errOf(root.AuthEnable(ctx)),
	} {
		must(t, err)
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: root.Endpoints(), Username: "vault", Password: "secret", Logger: zap.NewNop()})
	must(t, err)
	defer client.Close()
	mine := newStore(t, client, etcdstore.Options{Prefix: "mine/"})
	put(t, mine, object(t, 1, "a"))
	must(t, mine.InsertKey(ctx, key(t, 1, 1)))
	page, err := mine.ListObjects(ctx, storage.ObjectQuery{Contexts: allOf})
	if err != nil || len(page.Objects) != 1 {
		t.Errorf("%d objects, %v", len(page.Objects), err)
	}
	wantReadOnly(t, newStore(t, client, etcdstore.Options{Prefix: "read/"}))
	for _, s := range []*etcdstore.Store{newStore(t, client, etcdstore.Options{Prefix: "yours/"}), newStore(t, root, etcdstore.Options{Prefix: "mine/"})} {
		_, err := s.LatestKey(ctx, object(t, 1, "a").ContextHash, 1)
		_, err2 := s.PutObject(ctx, object(t, 1, "a"), storage.PutGuard{})
		for _, err := range []error{err, err2} {
			if !errors.Is(err, etcdstore.ErrDenied) || errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("got %v", err)
			}
		}
	}
}

// wantReadOnly wants a store whose user may read only to be read.
func wantReadOnly(t *testing.T, s storage.Store) {
	t.Helper()
	r, k := object(t, 1, "a"), key(t, 1, 1)
	for name, err := range map[string]error{
		"put":    errOf(s.PutObject(t.Context(), r, storage.PutGuard{})),
		"import": s.ImportVersion(t.Context(), withNumber(r, 1)),
		"insert": s.InsertKey(t.Context(), k),
		"system": errOf(s.PutSystem(t.Context(), storage.SystemRecord{Name: "s"})),
	} {
		if !errors.Is(err, etcdstore.ErrDenied) || errors.Is(err, storage.ErrUnavailable) || errors.Is(err, storage.ErrExists) {
			t.Errorf("%s by a user who may only read: %v", name, err)
		}
	}
	if _, err := s.LatestKey(t.Context(), k.ContextHash, k.Purpose); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("reading what isn't there: %v", err)
	}
}

func errOf[T any](_ T, err error) error { return err }

func TestClassify(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	deadline, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	none := errors.New("no class")
	for _, c := range []struct {
		ctx  context.Context
		err  error
		want error
	}{
		{t.Context(), rpctypes.ErrNoLeader, storage.ErrUnavailable},
		{t.Context(), rpctypes.ErrLeaderChanged, storage.ErrUnavailable},
		{t.Context(), rpctypes.ErrNotLeader, storage.ErrUnavailable},
		{t.Context(), rpctypes.ErrStopped, storage.ErrUnavailable},
		{t.Context(), rpctypes.ErrTimeout, storage.ErrUnavailable},
		{t.Context(), rpctypes.ErrTimeoutDueToLeaderFail, storage.ErrUnavailable},
		{t.Context(), rpctypes.ErrTimeoutDueToConnectionLost, storage.ErrUnavailable},
		{t.Context(), rpctypes.ErrUnhealthy, storage.ErrUnavailable},
		{t.Context(), rpctypes.ErrTooManyRequests, storage.ErrUnavailable},
		{t.Context(), rpctypes.ErrNoSpace, storage.ErrUnavailable},
		{t.Context(), rpctypes.ErrInvalidAuthToken, storage.ErrUnavailable},
		{t.Context(), status.Error(codes.Unavailable, "connection refused"), storage.ErrUnavailable},
		{t.Context(), status.Error(codes.Internal, "stream terminated"), storage.ErrUnavailable},
		{t.Context(), errors.New("anything"), storage.ErrUnavailable},
		{ended, status.Error(codes.Canceled, "context canceled"), context.Canceled},
		{ended, rpctypes.ErrNoLeader, storage.ErrUnavailable},
		{deadline, status.Error(codes.DeadlineExceeded, "context deadline exceeded"), context.DeadlineExceeded},
		{t.Context(), status.Error(codes.Canceled, "grpc: the client connection is closing"), storage.ErrClosed},
		{t.Context(), rpctypes.ErrRequestTooLarge, storage.ErrTooLarge},
		{t.Context(), status.Error(codes.ResourceExhausted, "trying to send message larger than max (3 vs. 2)"), storage.ErrTooLarge},
		{t.Context(), status.Error(codes.ResourceExhausted, "grpc: received message larger than max (3 vs. 2)"), storage.ErrTooLarge},
		{t.Context(), status.Error(codes.ResourceExhausted, "grpc: received message after decompression larger than max 2"), storage.ErrTooLarge},
		{t.Context(), rpctypes.ErrAuthOldRevision, storage.ErrUnavailable},
		{t.Context(), rpctypes.ErrPermissionDenied, etcdstore.ErrDenied},
		{t.Context(), rpctypes.ErrAuthFailed, etcdstore.ErrDenied},
		{t.Context(), rpctypes.ErrUserEmpty, etcdstore.ErrDenied},
		{t.Context(), rpctypes.ErrCorrupt, storage.ErrCorrupt},
		{t.Context(), rpctypes.ErrTooManyOps, none},
		{t.Context(), rpctypes.ErrDuplicateKey, none},
	} {
		got := etcdstore.Classify(c.ctx, c.err)
		if !errors.Is(got, c.err) {
			t.Errorf("%v: the client's error is lost in %v", c.err, got)
		}
		if c.want != none && !errors.Is(got, c.want) {
			t.Errorf("%v became %v, want %v", c.err, got, c.want)
		}
		classes := 0
		for _, class := range []error{storage.ErrUnavailable, storage.ErrClosed, storage.ErrTooLarge, storage.ErrCorrupt, etcdstore.ErrDenied, storage.ErrNotFound, storage.ErrExists, storage.ErrVersionConflict} {
			if errors.Is(got, class) {
				classes++
			}
		}
		if want := 1; c.want != none && classes != want || c.want == none && classes != 0 {
			t.Errorf("%v has %d classes: %v", c.err, classes, got)
		}
	}
}
