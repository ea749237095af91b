package boltstore_test

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/boltstore"
)

// The floors are what someone would write who has nothing but bbolt: one bucket,
// the context hash and the name as the key. As the value "raw" has the sealed
// value of 1 KiB alone, and "record" the same bytes as the store's record, with
// its metadata. Neither has the store's index.
const (
	benchContexts = 100
	sealedLen     = 1024 + 86
)

var benchRows = flag.Int("rows", 50_000, "how many objects BenchmarkList lists")

var (
	benchTime = time.Date(2025, 7, 1, 12, 0, 0, 0, time.UTC)
	bucket    = []byte("objects")
)

type benchContext struct {
	kc   keyctx.KeyContext
	hash keyctx.Hash
}

func benchTenants(n int) []benchContext {
	cs := make([]benchContext, n)
	for i := range cs {
		cs[i].kc = keyctx.KeyContext{"organization_id": fmt.Sprintf("org_%06d", i)}
		cs[i].hash, _ = cs[i].kc.Hash() // valid
	}
	return cs
}

func benchName(i int) string { return fmt.Sprintf("stripe/api-key-%d", i) }

func benchRecord(c benchContext, i int, sealed []byte) storage.ObjectRecord {
	now := benchTime.Add(time.Duration(i) * time.Microsecond)
	return storage.ObjectRecord{
		ID: storage.NewID(now), Context: c.kc, ContextHash: c.hash, Name: benchName(i),
		VersionID: storage.NewID(now), KeyID: keyctx.KeyID(c.hash), Size: 1024, UpdatedAt: now, Envelope: sealed,
	}
}

func sealedBytes() []byte {
	b := make([]byte, sealedLen)
	_, _ = rand.Read(b) // never fails
	return b
}

// rawKey is the floor's key.
func rawKey(c benchContext, i int) []byte { return append(c.hash[:], benchName(i)...) }

func openRaw(b *testing.B) *bbolt.DB {
	db, err := bbolt.Open(filepath.Join(b.TempDir(), "raw.db"), 0o600, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	if err := db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket(bucket); return err }); err != nil {
		b.Fatal(err)
	}
	return db
}

// put is one of the ways to put the i-th object.
type put func(i int) error

// ways are the names of what putters returns, in the order in which they are
// run.
var ways = [3]string{"raw", "record", "store"}

func putters(b *testing.B, batch bool) [len(ways)]put {
	cs, sealed := benchTenants(benchContexts), sealedBytes()
	floor := func(value func(i int) []byte) put {
		db := openRaw(b)
		update := db.Update
		if batch {
			update = db.Batch
		}
		return func(i int) error {
			v := value(i)
			return update(func(tx *bbolt.Tx) error {
				return tx.Bucket(bucket).Put(rawKey(cs[i%len(cs)], i), v)
			})
		}
	}
	s := open(b, newPath(b))
	return [...]put{
		floor(func(int) []byte { return sealed }),
		floor(func(i int) []byte {
			r := benchRecord(cs[i%len(cs)], i, sealed)
			r.Number, r.CreatedAt = 1, r.UpdatedAt
			v, err := storage.AppendObjectRecord(nil, r)
			if err != nil {
				b.Error(err)
			}
			return v
		}),
		func(i int) error {
			_, err := s.PutObject(context.Background(), benchRecord(cs[i%len(cs)], i, sealed), storage.PutGuard{Now: benchTime})
			return err
		},
	}
}

// BenchmarkPut puts new objects, one after the other, into all the databases in
// turn, so that they see the same disk; it reports the ratios of the medians.
func BenchmarkPut(b *testing.B) {
	putters := putters(b, false)
	var spent [len(ways)][]time.Duration
	const chunk = 50
	i := 0
	for b.Loop() {
		for k, put := range putters {
			start := time.Now()
			for j := range chunk {
				if err := put(i*chunk + j); err != nil {
					b.Fatal(err)
				}
			}
			spent[k] = append(spent[k], time.Since(start)/chunk)
		}
		i++
	}
	report(b, spent)
}

func report(b *testing.B, spent [len(ways)][]time.Duration) {
	b.ReportMetric(0, "ns/op") // of all together: says nothing
	var medians [len(ways)]float64
	for k, s := range spent {
		slices.Sort(s)
		medians[k] = float64(s[len(s)/2].Nanoseconds()) / 1000
		b.ReportMetric(medians[k], ways[k]+"-µs/op")
	}
	b.ReportMetric(medians[2]/medians[0], "store/raw")
	b.ReportMetric(medians[2]/medians[1], "store/record")
}

// BenchmarkPutParallel puts from 64 goroutines; the floor is bbolt's Batch.
func BenchmarkPutParallel(b *testing.B) {
	putters := putters(b, true)
	var spent [len(ways)][]time.Duration
	const workers, each = 64, 20
	ops := 0
	for b.Loop() {
		for k, put := range putters {
			start := time.Now()
			from := ops
			parallel(b, workers, workers*each, func(i int) error { return put(from + i) })
			spent[k] = append(spent[k], time.Since(start)/(workers*each))
		}
		ops += workers * each
	}
	report(b, spent)
}

// parallel calls f for 0 … n-1 from so many goroutines.
func parallel(b *testing.B, workers, n int, f func(i int) error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := f(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// fill puts n objects into both databases.
func fill(b *testing.B, db *bbolt.DB, s *boltstore.Store, cs []benchContext, n int) {
	sealed := sealedBytes()
	db.NoSync = true
	if err := db.Update(func(tx *bbolt.Tx) error {
		for i := range n {
			if err := tx.Bucket(bucket).Put(rawKey(cs[i%len(cs)], i), sealed); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		b.Fatal(err)
	}
	db.NoSync = false
	fillStore(b, s, cs, n, sealed)
}

func fillStore(b *testing.B, s *boltstore.Store, cs []benchContext, n int, sealed []byte) {
	parallel(b, 256, n, func(i int) error {
		_, err := s.PutObject(context.Background(), benchRecord(cs[i%len(cs)], i, sealed), storage.PutGuard{})
		return err
	})
}

// BenchmarkGet gets objects in no particular order from databases of 10,000.
func BenchmarkGet(b *testing.B) {
	const n = 10_000
	cs := benchTenants(benchContexts)
	db, s := openRaw(b), open(b, newPath(b))
	fill(b, db, s, cs, n)
	ids := make([]storage.ID, 0, n)
	for i := range n {
		r, err := s.GetObject(b.Context(), storage.ObjectRef{ContextHash: cs[i%len(cs)].hash, Name: benchName(i)})
		if err != nil {
			b.Fatal(err)
		}
		ids = append(ids, r.ID)
	}
	at := func(i int) int { return i * 7919 % n }
	b.Run("raw", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			var out []byte
			err := db.View(func(tx *bbolt.Tx) error {
				out = append([]byte(nil), tx.Bucket(bucket).Get(rawKey(cs[at(i)%len(cs)], at(i)))...)
				return nil
			})
			if err != nil || len(out) != sealedLen {
				b.Fatal(len(out), err)
			}
			i++
		}
	})
	get := func(b *testing.B, ref func(i int) storage.ObjectRef) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			r, err := s.GetObject(context.Background(), ref(at(i)))
			if err != nil || len(r.Envelope) != sealedLen {
				b.Fatal(len(r.Envelope), err)
			}
			i++
		}
	}
	b.Run("store", func(b *testing.B) {
		get(b, func(i int) storage.ObjectRef {
			return storage.ObjectRef{ContextHash: cs[i%len(cs)].hash, Name: benchName(i), Now: benchTime}
		})
	})
	b.Run("storeByID", func(b *testing.B) {
		get(b, func(i int) storage.ObjectRef { return storage.ObjectRef{ID: ids[i], Now: benchTime} })
	})
}

// BenchmarkList reads pages of 100 at the beginning and at the end of a list of
// many objects in one context, and of as many contexts with one object each.
// With -rows=1000000 it takes some minutes.
func BenchmarkList(b *testing.B) {
	n := *benchRows
	for _, contexts := range []int{1, n} {
		cs := benchTenants(contexts)
		s := open(b, newPath(b))
		fillStore(b, s, cs, n, sealedBytes()[:100])
		for _, order := range []storage.Order{storage.OrderByName, storage.OrderByUpdated} {
			q := storage.ObjectQuery{Contexts: storage.ContextFilter{All: true}, Order: order, Now: benchTime}
			for _, place := range []string{"first", "last"} {
				if place == "last" {
					q.Cursor = lastCursor(b, s, q, n)
				}
				b.Run(fmt.Sprintf("contexts=%d/order=%d/%s", contexts, order, place), func(b *testing.B) {
					for b.Loop() {
						page, err := s.ListObjects(context.Background(), q)
						if err != nil || len(page.Objects) != 100 {
							b.Fatal(len(page.Objects), err)
						}
					}
				})
			}
		}
	}
}

// lastCursor pages to where 100 rows are left.
func lastCursor(b *testing.B, s *boltstore.Store, q storage.ObjectQuery, n int) string {
	q.Limit = 100
	for ; n > 100; n -= 100 {
		page, err := s.ListObjects(context.Background(), q)
		if err != nil {
			b.Fatal(err)
		}
		q.Cursor = page.Next
	}
	return q.Cursor
}
