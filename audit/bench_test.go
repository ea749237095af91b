package audit_test

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/audit"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/storage/memstore"
	"github.com/embedvault/vault/vaulttest"
)

func benchEvent() vault.Event {
	return vault.Event{
		Name: vault.DataRead, Time: time.Now(), Actor: "svc-billing", Reason: "invoice run", ContextHash: vault.ContextHash{1},
		KeyID: vault.KeyID{2}, Object: "stripe/api-key", ObjectID: vault.ID{3}, VersionID: vault.ID{4}, Duration: time.Millisecond,
	}
}

func benchLog(b *testing.B, opts audit.Options) *audit.Log {
	b.Helper()
	l, err := audit.Open(filepath.Join(b.TempDir(), "audit.log"), opts)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	v, err := vault.New(vault.Config{KEK: memkek.New("k"), Store: memstore.New(), NoBackground: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = v.Close() })
	if err := l.Start(b.Context(), v); err != nil {
		b.Fatal(err)
	}
	return l
}

// BenchmarkEvents writes events from so many goroutines.
func BenchmarkEvents(b *testing.B) {
	for _, c := range []struct {
		name       string
		goroutines int
		opts       audit.Options
	}{
		{"synced-1", 1, audit.Options{}}, {"synced-64", 64, audit.Options{}}, {"synced-512", 512, audit.Options{}},
		{"unsynced-1", 1, audit.Options{NoSync: true}}, {"unsynced-64", 64, audit.Options{NoSync: true}},
	} {
		b.Run(c.name, func(b *testing.B) {
			l := benchLog(b, c.opts)
			e := benchEvent()
			b.SetParallelism((c.goroutines + 1) / 2) // times two processors
			b.ReportAllocs()
			b.ResetTimer()
			if c.goroutines == 1 {
				for b.Loop() {
					if err := l.OnEvent(b.Context(), e); err != nil {
						b.Fatal(err)
					}
				}
			} else {
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := l.OnEvent(b.Context(), e); err != nil {
							b.Error(err)
						}
					}
				})
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

func BenchmarkJSONLines(b *testing.B) {
	j, err := audit.OpenJSONLines(filepath.Join(b.TempDir(), "audit.log"), audit.JSONLinesOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	e := benchEvent()
	b.ReportAllocs()
	for b.Loop() {
		if err := j.OnEvent(b.Context(), e); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGet is a warm Get of a value of 1 KiB from memory, with and without logs.
func BenchmarkGet(b *testing.B) {
	for _, name := range []string{"none", "jsonlines", "unsynced", "synced"} {
		b.Run(name, func(b *testing.B) {
			v := benchVault(b, name)
			org := vault.KeyContext{"organization_id": "org_01"}
			if _, err := v.Put(b.Context(), org, "n", make([]byte, 1024)); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := v.Get(b.Context(), org, "n"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func benchVault(b *testing.B, sink string) *vault.Vault {
	cfg := vault.Config{KEK: memkek.New("k"), Store: memstore.New(), FailClosed: sink != "none"}
	switch sink {
	case "jsonlines":
		j, err := audit.OpenJSONLines(filepath.Join(b.TempDir(), "audit.log"), audit.JSONLinesOptions{})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = j.Close() })
		cfg.OnEvent = j.OnEvent
	case "synced", "unsynced":
		cfg.OnEvent = benchLog(b, audit.Options{NoSync: sink == "unsynced"}).OnEvent
	}
	v, err := vault.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = v.Close() })
	return v
}

func BenchmarkVerify(b *testing.B) {
	path := filepath.Join(b.TempDir(), "audit.log")
	l, err := audit.Open(path, audit.Options{NoSync: true})
	if err != nil {
		b.Fatal(err)
	}
	for range 10_000 {
		if err := l.OnEvent(b.Context(), benchEvent()); err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if r, err := audit.VerifyFiles(b.Context(), []string{path}, audit.VerifyOptions{}); err != nil || !r.OK() {
			b.Fatal(err)
		}
	}
	b.ReportMetric(10_000*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// Ten thousand events, as they come within a second from very many goroutines, are
// written, synced and chained: each once, and with far fewer syncs than events. How long
// it takes is for the benchmark to say.
func TestTenThousandEvents(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l, err := audit.Open(path, audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	v := vaulttest.New(t, func(c *vault.Config) { c.OnEvent, c.FailClosed = l.OnEvent, true })
	if err := l.Start(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	const goroutines, each = 500, 20
	var failed atomic.Int64
	done := make(chan struct{})
	for range goroutines {
		go func() {
			defer func() { done <- struct{}{} }()
			for range each {
				if l.OnEvent(context.Background(), benchEvent()) != nil {
					failed.Add(1)
				}
			}
		}()
	}
	for range goroutines {
		<-done
	}
	keys, err := v.AuditKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	head, err := v.AuditHead(t.Context(), l.ID())
	if err != nil {
		t.Fatal(err)
	}
	r, err := audit.VerifyFiles(t.Context(), []string{path}, audit.VerifyOptions{Keys: keys, Head: &head})
	if err != nil || !r.OK() || failed.Load() != 0 || r.Events != goroutines*each+3 || r.Checkpoints < 10 || r.After != 0 { // and key.created, and audit.key twice
		t.Errorf("%d failed; %+v, %v", failed.Load(), r, err)
	}
}
