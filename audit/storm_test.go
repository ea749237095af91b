package audit

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/embedvault/vault"
)

// OnEvent, Rotate, Start and Close against each other: what OnEvent said lasts is there,
// and the log is whole. (Holds.)
func TestStorm(t *testing.T) {
	for range 5 {
		k := newKeeper()
		path := filepath.Join(t.TempDir(), "audit.log")
		l := open(t, path, Options{NoSync: true, Every: 7, Interval: time.Millisecond, MaxSize: 8 << 10})
		var wg sync.WaitGroup
		var mu sync.Mutex
		said := 0
		for g := range 4 {
			wg.Go(func() {
				for i := range 300 {
					if l.OnEvent(context.Background(), event(g*1000+i)) == nil {
						mu.Lock()
						said++
						mu.Unlock()
					}
				}
			})
		}
		wg.Go(func() {
			for range 20 {
				_ = l.Rotate()
				time.Sleep(time.Millisecond)
			}
		})
		wg.Go(func() {
			for range 10 {
				_ = l.Start(context.Background(), k)
			}
		})
		wg.Go(func() {
			time.Sleep(30 * time.Millisecond)
			_ = l.Close()
			if l.OnEvent(context.Background(), vault.Event{Name: "x"}) == nil {
				t.Error("an event after Close is taken")
			}
		})
		wg.Wait()
		paths, err := filepath.Glob(path + "*")
		if err != nil {
			t.Fatal(err)
		}
		opts := withKey()
		opts.Head = k.head(l.ID())
		r := verify(t, opts, paths...)
		noFindings(t, r)
		if r.Events != uint64(said) {
			t.Errorf("%d events, %d were said to last", r.Events, said)
		}
	}
}
