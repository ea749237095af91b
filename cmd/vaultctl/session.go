package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/audit"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyring"
	"github.com/embedvault/vault/storage"
)

// session is an open vault.
type session struct {
	*vault.Vault
	store     *openedStore
	policy    kek.Policy
	under     bool // it has parents
	namespace string
	actor     string
	reason    string
	onEvent   func(context.Context, vault.Event) error
	log       io.Closer
	clean     func(string) string // without secrets
}

// needs says what a command needs of a session.
type needs struct {
	access access
	keks   bool
	cache  vault.CacheConfig
}

// open opens what the flags name. What it returns must be closed.
func (a *app) open(ctx context.Context, n needs) (*session, error) {
	s := &session{namespace: a.namespace(), actor: a.flags.actor, reason: a.flags.reason, under: len(a.underLevels()) > 0, clean: a.clean}
	var err error
	if s.policy, err = a.loadPolicy(ctx, n.keks); err != nil {
		return nil, err
	}
	if err := a.openAuditLog(s); err != nil {
		return nil, err
	}
	if s.store, err = a.mainStore(n.access); err != nil {
		return nil, errors.Join(err, s.close())
	}
	n.cache.StaleIfUnavailable = -1 // what a KMS refuses now must show now
	s.Vault, err = vault.New(vault.Config{
		Policy: s.policy, Store: s.store.Store, Namespace: s.namespace, Cache: n.cache,
		OnEvent: s.onEvent, FailClosed: s.onEvent != nil,
		NoBackground: true, RotateAfter: -1, // nothing happens that wasn't asked for
	})
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// newRing returns a keyring of its own, with this policy, for keys that the vault itself
// would load only if it had something to do with them. It must be closed.
func (s *session) newRing(p kek.Policy) (*keyring.Keyring, error) {
	return keyring.New(context.Background(), keyring.Config{
		Policy: p, Store: s.store.Store, Namespace: s.namespace,
		Size: 1000, TTL: time.Minute, ActiveKeyTTL: time.Minute,
		CallTimeout: 5 * time.Second, LoadTimeout: 15 * time.Second, KEKConcurrency: 32, NoBackground: true,
	})
}

// openAuditLog makes the sink of events, if a file is named.
func (a *app) openAuditLog(s *session) error {
	path := a.either(a.flags.auditLog, "VAULTCTL_AUDIT_LOG")
	if path == "" {
		return nil
	}
	log, err := audit.OpenJSONLines(path, audit.JSONLinesOptions{Sync: true})
	if err != nil {
		return fmt.Errorf("open the audit log: %w", err)
	}
	s.log, s.onEvent = log, log.OnEvent
	return nil
}

// close closes everything, in the right order.
func (s *session) close() error {
	var errs []error
	if s.Vault != nil {
		errs = append(errs, s.Vault.Close())
	}
	if s.store != nil {
		errs = append(errs, s.store.close())
	}
	if s.log != nil {
		errs = append(errs, s.log.Close())
	}
	return errors.Join(errs...)
}

// with runs f on an open session and closes it.
func (a *app) with(ctx context.Context, n needs, f func(*session) error) (err error) {
	s, err := a.open(ctx, n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	return f(s)
}

// contexts is the filter of what contains match, or of all, in the namespace.
func (s *session) contexts(match vault.KeyContext) storage.ContextFilter {
	return storage.ContextFilter{Match: match, All: len(match) == 0, Namespace: s.namespace}
}

// filter is the same for the vault's own calls.
func filter(match vault.KeyContext) vault.KeyFilter {
	return vault.KeyFilter{Match: match, All: len(match) == 0}
}
