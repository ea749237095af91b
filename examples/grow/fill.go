package main

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/storage"
)

// fill is the time before: a vault on bbolt, in use. It does nothing if there is
// something in the store already.
func fill(ctx context.Context, root kek.Wrapper, s storage.Store, secrets int, out io.Writer) error {
	there, err := s.ListKeys(ctx, storage.KeyQuery{Contexts: storage.ContextFilter{All: true, AnyNamespace: true}, Limit: 1})
	if err != nil || len(there.Keys) > 0 {
		return err
	}
	v, err := vault.New(vault.Config{KEK: root, Store: s})
	if err != nil {
		return err
	}
	defer v.Close()
	orgs := []string{"acme", "globex", "initech"}
	errs := make([]error, len(orgs))
	var wg sync.WaitGroup
	for i, org := range orgs {
		wg.Go(func() { errs[i] = fillOne(ctx, v.Scope(vault.KeyContext{"organization_id": org}), secrets) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%-8s keeps %d secrets in bbolt\n", orgs[i], secrets)
	}
	return nil
}

// fillOne gives an organisation its secrets, and a history: its first secret has two
// versions, under two versions of its key.
func fillOne(ctx context.Context, org *vault.Scope, secrets int) error {
	for i := range secrets {
		if _, err := org.Put(ctx, fmt.Sprintf("api-key/%03d", i), fmt.Appendf(nil, "secret %d", i)); err != nil {
			return err
		}
	}
	if err := org.Rotate(ctx); err != nil {
		return err
	}
	_, err := org.Put(ctx, "api-key/000", []byte("secret 0, replaced"))
	return err
}
