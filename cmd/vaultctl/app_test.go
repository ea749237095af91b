package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/audit"
	"github.com/embedvault/vault/storage"
)

// appCode is the application of the scripts, which has the vault that the VAULTCTL_
// variables name.
//
//	app put NAME VALUE PAIR…    app get NAME PAIR…    app encrypt PAIR…
//	app fill N                  makes the keys of N contexts
//	app age DURATION            makes the store that much older
//	app damage NAME PAIR…       flips a bit of a stored value
//
// With APP_AUDIT_LOG it writes a tamper-evident log, with APP_ACTOR and APP_REASON as who
// and why.
func appCode() int {
	a := newApp(os.Stdin, os.Stdout, os.Stderr, os.Getenv)
	ctx := vault.WithActor(context.Background(), "app")
	acc := writing
	switch os.Args[1] {
	case "put", "fill", "encrypt":
		acc = making
	}
	if actor := os.Getenv("APP_ACTOR"); actor != "" {
		ctx = vault.WithReason(vault.WithActor(ctx, actor), os.Getenv("APP_REASON"))
	}
	err := a.with(ctx, needs{access: acc}, func(s *session) error {
		if path := os.Getenv("APP_AUDIT_LOG"); path != "" {
			return audited(ctx, s, path, os.Args[1], os.Args[2:])
		}
		return appCommand(ctx, s, os.Args[1], os.Args[2:])
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "app:", err)
		return 1
	}
	return 0
}

// audited is appCommand with a tamper-evident log.
func audited(ctx context.Context, s *session, path, name string, args []string) error {
	log, err := audit.Open(path, audit.Options{})
	if err != nil {
		return err
	}
	plain := s.Vault
	s.Vault, err = vault.New(vault.Config{
		Policy: s.policy, Store: s.store.Store, Namespace: s.namespace,
		OnEvent: log.OnEvent, FailClosed: true, NoBackground: true,
	})
	if err != nil {
		return err
	}
	if err = log.Start(ctx, s.Vault); err == nil {
		err = appCommand(ctx, s, name, args)
	}
	return errors.Join(err, s.Vault.Close(), log.Close(), plain.Close())
}

func appCommand(ctx context.Context, s *session, name string, args []string) error {
	switch name {
	case "put":
		if m, ok := s.store.Store.(migrator); ok {
			if err := m.Migrate(ctx); err != nil {
				return err
			}
		}
		kc, err := pairs(args[2:])
		if err == nil {
			_, err = s.Put(ctx, kc, args[0], []byte(args[1]))
		}
		return err
	case "get":
		kc, err := pairs(args[1:])
		if err != nil {
			return err
		}
		obj, err := s.Get(ctx, kc, args[0])
		fmt.Printf("%s\n", obj.Value)
		return err
	case "encrypt":
		kc, err := pairs(args)
		if err != nil {
			return err
		}
		text, err := s.EncryptString(ctx, kc, "a message", nil)
		fmt.Println(text)
		return err
	case "fill":
		n, err := strconv.Atoi(args[0])
		if err != nil {
			return err
		}
		return s.Prepare(ctx, manyContexts(n)...)
	case "age":
		d, err := time.ParseDuration(args[0])
		if err != nil {
			return err
		}
		return makeOlder(ctx, s.store, d)
	case "damage":
		kc, err := pairs(args[1:])
		if err != nil {
			return err
		}
		return damage(ctx, s, kc, args[0])
	}
	return fmt.Errorf("unknown command %s", name)
}

func manyContexts(n int) []vault.KeyContext {
	kcs := make([]vault.KeyContext, n)
	for i := range kcs {
		kcs[i] = vault.KeyContext{"region": "eu", "organization_id": fmt.Sprintf("org_%05d", i)}
	}
	return kcs
}

var everything = storage.ContextFilter{All: true, AnyNamespace: true}

// makeOlder moves the times of keys and of pending shreddings into the past: what takes
// a day, or thirty, is done in a test.
func makeOlder(ctx context.Context, s *openedStore, d time.Duration) error {
	page, err := s.ListKeys(ctx, storage.KeyQuery{Contexts: everything, Limit: 1000})
	if err != nil {
		return err
	}
	for _, rec := range page.Keys {
		if err := s.DeleteKey(ctx, rec.KeyID, rec.Revision); err != nil {
			return err
		}
		rec.CreatedAt = rec.CreatedAt.Add(-d)
		if rec.State != storage.StateDisabled { // by which a shredding knows its own
			rec.StateChangedAt = rec.StateChangedAt.Add(-d)
		}
		if err := s.InsertKey(ctx, rec); err != nil {
			return err
		}
	}
	recs, err := s.ListSystem(ctx, "shred/", "", 1000)
	for _, rec := range recs {
		if rec.Value, err = dueBefore(rec.Value, d); err != nil {
			return err
		}
		if _, err := s.PutSystem(ctx, rec); err != nil {
			return err
		}
	}
	return err
}

// dueBefore moves "due_at" in the JSON of a pending shredding.
func dueBefore(value []byte, d time.Duration) ([]byte, error) {
	const field = `"due_at":"`
	before, rest, ok := bytes.Cut(value, []byte(field))
	if !ok {
		return value, nil
	}
	at, after, _ := bytes.Cut(rest, []byte(`"`))
	t, err := time.Parse(time.RFC3339Nano, string(at))
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%s%s%s\"%s", before, field, t.Add(-d).Format(time.RFC3339Nano), after), nil
}

// damage flips the last bit of an object's value, as a disk might.
func damage(ctx context.Context, s *session, kc vault.KeyContext, name string) error {
	m, err := s.Describe(ctx, kc, name)
	if err != nil {
		return err
	}
	rec, err := s.store.GetObject(ctx, storage.ObjectRef{ID: m.ID, Now: time.Now()})
	if err != nil {
		return err
	}
	rec.Envelope[len(rec.Envelope)-1] ^= 1
	return s.store.ReplaceEnvelope(ctx, rec.ID, rec.VersionID, rec.KeyID, rec.KeyID, rec.Envelope)
}
