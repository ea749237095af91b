package etcdstore_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/etcdstore"
)

// The floor is what someone would write who has nothing but the client: the
// value alone under its name, put by a transaction if it isn't there, without
// metadata, versions or indexes. Run them with
//
//	go test -run '^$' -bench . -benchtime 2000x
const benchKeys = 1000

func kilobyte(r *storage.ObjectRecord) { r.Envelope = make([]byte, 1024) }

// bench runs f b.N times, on 1 and on 16 goroutines.
func bench(b *testing.B, name string, f func(ctx context.Context, i int) error) {
	for _, workers := range []int{1, 16} {
		b.Run(fmt.Sprintf("%s/goroutines=%d", name, workers), func(b *testing.B) {
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range workers {
				wg.Go(func() {
					for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
						if err := f(b.Context(), int(i)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// benchClient connects to a member of its own, whose disk is synced.
func benchClient(b *testing.B) *clientv3.Client {
	b.Helper()
	c, err := newCluster(b.TempDir(), 1, nil)
	must(b, err)
	b.Cleanup(c.stopAll)
	return connect(b, c)
}

func barePut(ctx context.Context, client *clientv3.Client, key string) error {
	resp, err := client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, string(make([]byte, 1024)))).Commit()
	if err == nil && !resp.Succeeded {
		err = storage.ErrExists
	}
	return err
}

func BenchmarkPut(b *testing.B) {
	client := benchClient(b)
	s := newStore(b, client, etcdstore.Options{})
	kid, n := randomKeyID(), new(atomic.Int64) // names are never used twice
	bench(b, "store", func(ctx context.Context, i int) error {
		r := object(b, i%100, fmt.Sprint("n", n.Add(1)), kilobyte)
		r.KeyID = kid
		return errOf(s.PutObject(ctx, r, storage.PutGuard{IfAbsent: true}))
	})
	bench(b, "bare", func(ctx context.Context, _ int) error {
		return barePut(ctx, client, fmt.Sprint("bare/n", n.Add(1)))
	})
}

func BenchmarkGet(b *testing.B) {
	client := benchClient(b)
	s := newStore(b, client, etcdstore.Options{})
	var hashes []keyctx.Hash
	for i := range benchKeys {
		r := put(b, s, object(b, i, "n", kilobyte))
		hashes = append(hashes, r.ContextHash)
		must(b, barePut(b.Context(), client, fmt.Sprint("bare/n", i)))
	}
	bench(b, "store", func(ctx context.Context, i int) error {
		return errOf(s.GetObject(ctx, storage.ObjectRef{ContextHash: hashes[i%benchKeys], Name: "n"}))
	})
	bench(b, "bare", func(ctx context.Context, i int) error {
		resp, err := client.Get(ctx, fmt.Sprint("bare/n", i%benchKeys))
		if err == nil && resp.Count != 1 {
			err = storage.ErrNotFound
		}
		return err
	})
}
