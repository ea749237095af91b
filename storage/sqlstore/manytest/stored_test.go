package manytest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// stored is what a store holds, read by one that has not written to it.
type stored struct {
	keys    []storage.KeyRecord
	objects []*storedObject
	counts  map[vault.KeyID]int64 // versions sealed under a key, as the store counts them
	updated int                   // objects, as the list by time has them
	opened  map[string]string     // messages: by operation, whose they are; "" if they don't decrypt
}

type storedObject struct {
	storage.ObjectRecord                        // the current version
	versions             []storage.ObjectRecord // by number
	owners               []string               // whose each version is; "" if it doesn't decrypt
}

var everything = storage.ContextFilter{All: true, AnyNamespace: true}

// readStored reads everything. Values and messages are opened with v, which is
// fresh.
func readStored(ctx context.Context, s storage.Store, v *vault.Vault, h *history) (*stored, error) {
	st := &stored{counts: map[vault.KeyID]int64{}, opened: map[string]string{}}
	if err := st.readKeys(ctx, s); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	if err := st.readObjects(ctx, s); err != nil {
		return nil, fmt.Errorf("objects: %w", err)
	}
	var mu sync.Mutex
	var jobs []func() error
	for _, o := range st.objects {
		jobs = append(jobs, func() error { return o.read(ctx, s, v) })
	}
	for _, o := range h.ops {
		if o.Op == opEncrypt && o.succeeded() {
			jobs = append(jobs, func() error {
				whose, err := open(ctx, v, o)
				mu.Lock()
				defer mu.Unlock()
				st.opened[o.id()] = whose
				return err
			})
		}
	}
	return st, all(jobs)
}

// all runs jobs, some at a time.
func all(jobs []func() error) error {
	errs := make([]error, len(jobs))
	places := make(chan struct{}, poolSize)
	var wg sync.WaitGroup
	for i, job := range jobs {
		places <- struct{}{}
		wg.Go(func() {
			errs[i] = job()
			<-places
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (st *stored) readKeys(ctx context.Context, s storage.Store) error {
	for q := (storage.KeyQuery{Contexts: everything, Limit: 70}); ; {
		page, err := s.ListKeys(ctx, q)
		if err != nil {
			return err
		}
		st.keys = append(st.keys, page.Keys...)
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	for _, k := range st.keys {
		n, err := s.CountByKey(ctx, k.KeyID)
		if err != nil {
			return err
		}
		st.counts[k.KeyID] = n
	}
	return nil
}

func (st *stored) readObjects(ctx context.Context, s storage.Store) error {
	for _, order := range []storage.Order{storage.OrderByName, storage.OrderByUpdated} {
		for q := (storage.ObjectQuery{Contexts: everything, Order: order, Limit: 70}); ; {
			page, err := s.ListObjects(ctx, q)
			if err != nil {
				return err
			}
			for _, rec := range page.Objects {
				if order == storage.OrderByUpdated {
					st.updated++
					continue
				}
				st.objects = append(st.objects, &storedObject{ObjectRecord: rec})
			}
			if q.Cursor = page.Next; q.Cursor == "" {
				break
			}
		}
	}
	return nil
}

// read reads an object's versions.
func (o *storedObject) read(ctx context.Context, s storage.Store, v *vault.Vault) error {
	for q := (storage.VersionQuery{Object: o.ID, Ascending: true, WithEnvelope: true, Limit: 70}); ; {
		page, err := s.ListVersions(ctx, q)
		if err != nil {
			return err
		}
		o.versions = append(o.versions, page.Objects...)
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	kc := o.Context.WithoutNamespace()
	n := indexOf(kc)
	for _, rec := range o.versions {
		got, err := v.Get(ctx, kc, o.Name, vault.AtVersion(rec.VersionID))
		if err != nil && isFault(classOf(err)) {
			return err
		}
		owner := ""
		if err == nil && got.ID == o.ID && got.Number == rec.Number {
			owner = opOf(got.Value, n, o.Name)
		}
		o.owners = append(o.owners, owner)
	}
	return nil
}

// indexOf is contextOf the other way round; -1 if it is none of those.
func indexOf(kc vault.KeyContext) int {
	hash, err := kc.Hash()
	for i := range contexts {
		if h, e := contextOf(i).Hash(); err == nil && e == nil && h == hash {
			return i
		}
	}
	return -1
}

// open says whose message it is that an operation has encrypted.
func open(ctx context.Context, v *vault.Vault, o *operation) (string, error) {
	got, err := v.Decrypt(ctx, contextOf(o.Context), o.Data, []byte(o.id()))
	if err != nil {
		if isFault(classOf(err)) {
			return "", err
		}
		return "", nil
	}
	return opOf(got, o.Context, ""), nil
}

// hashOf is the hash of a context as it is stored.
func hashOf(i int) keyctx.Hash {
	h, err := keyctx.HashIn(contextOf(i), namespace)
	if err != nil {
		panic(err) // contexts are valid
	}
	return h
}
