package manytest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/tinkkek"
	"github.com/embedvault/vault/storage"
)

// childEnv tells a process that it is one of many, and which.
const childEnv = "VAULT_TEST_MANY_CHILD"

// job is what a process is to do.
type job struct {
	Engine, Target string // the database
	Dir            string // of the journal and the KEK's keyset
	Slot, Life     int
	Seed           uint64
	Workers        int
	Rotates        bool
	Timeout        time.Duration // of one operation
	Contexts       int           // if not 0: make keys for so many, and do nothing else
}

// activeTTL is after what time a process must know of another's rotation.
const activeTTL = 200 * time.Millisecond

func TestMain(m *testing.M) {
	_ = mysql.SetLogger(&mysql.NopLogger{}) // it tells of every connection that is lost
	if s := os.Getenv(childEnv); s != "" {
		if err := child(s, os.Stdin); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	closeServers()
	os.Exit(code)
}

// child does its job from the first line that it reads on until the input ends.
func child(s string, in io.Reader) error {
	var j job
	if err := json.Unmarshal([]byte(s), &j); err != nil {
		return err
	}
	e, ok := engineNamed(j.Engine)
	if !ok {
		return fmt.Errorf("no engine %q", j.Engine)
	}
	store, closeStore, err := e.open(j.Target)
	if err != nil {
		return err
	}
	if j.Contexts > 0 {
		return errors.Join(j.makeContexts(store, in, os.Stdout), closeStore())
	}
	p, err := j.open(store)
	if err != nil {
		return errors.Join(err, closeStore())
	}
	if err := p.journal.say(entry{What: saysReady, Slot: j.Slot, Life: j.Life}); err != nil {
		return err
	}
	lines := bufio.NewReader(in)
	if _, err := lines.ReadString('\n'); err != nil {
		return err
	}
	stop := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, lines)
		close(stop)
	}()
	err = j.run(p, stop)
	return errors.Join(err, p.close(), closeStore())
}

// open makes the process's vaults on the store.
func (j job) open(store storage.Store) (*process, error) {
	jl, err := openJournal(filepath.Join(j.Dir, "journal"))
	if err != nil {
		return nil, err
	}
	key, err := tinkkek.LoadOrCreate(filepath.Join(j.Dir, "keyset.json"))
	if err != nil {
		return nil, err
	}
	p := &process{slot: j.Slot, life: j.Life, journal: jl, rotates: j.Rotates, timeout: j.Timeout}
	cfg := vault.Config{
		KEK: key, Store: store, Namespace: namespace, OnEvent: onEvent,
		Cache: vault.CacheConfig{Size: 2 * contexts, TTL: time.Second, ActiveKeyTTL: activeTTL},
	}
	if p.plain, err = vault.New(cfg); err != nil {
		return nil, err
	}
	cfg.KeepVersions = keep
	cfg.Cache.Size = 10 // most keys don't stay
	p.kept, err = vault.New(cfg)
	return p, err
}

func (p *process) close() error {
	return errors.Join(p.plain.Close(), p.kept.Close(), p.journal.f.Close())
}

// run works until stop is closed: first with half of the contexts at once.
func (j job) run(p *process, stop <-chan struct{}) error {
	if err := p.prepare(0, contexts/2); err != nil {
		return err
	}
	errs := make([]error, j.Workers)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			w := &worker{process: p, rand: rand.New(rand.NewPCG(j.Seed, uint64(j.Slot)<<32|uint64(j.Life)<<16|uint64(i)))}
			errs[i] = w.work(stop)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// migrated is for stores whose tables are to be made: by every process, at its
// start.
func migrated(s interface{ Migrate(context.Context) error }) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return s.Migrate(ctx)
}
