package vault_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/kek/tinkkek"
	"github.com/embedvault/vault/storage/boltstore"
	"github.com/embedvault/vault/storage/memstore"
)

// ok ends an example that can't go on.
func ok(err error) {
	if err != nil {
		panic(err)
	}
}

// exampleVault is a vault in memory, for the examples after the first.
func exampleVault(change ...func(*vault.Config)) *vault.Vault {
	cfg := vault.Config{KEK: memkek.New("example"), Store: memstore.New()}
	for _, f := range change {
		f(&cfg)
	}
	v, err := vault.New(cfg)
	ok(err)
	return v
}

func ExampleVault() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "vault-example-")
	ok(err)
	defer os.RemoveAll(dir)
	home, err := os.Getwd()
	ok(err)
	ok(os.Chdir(dir))
	defer os.Chdir(home)

	root, err := tinkkek.LoadOrCreate("root-keyset.json") // the KEK: here a file, in production a KMS
	ok(err)
	store, err := boltstore.Open("vault.db")
	ok(err)
	defer store.Close()
	v, err := vault.New(vault.Config{KEK: root, Store: store})
	ok(err)
	defer v.Close()

	org := vault.KeyContext{"organization_id": "org_01"}
	sealed, err := v.Encrypt(ctx, org, []byte("secret"), nil) // bytes that you keep
	ok(err)
	plain, err := v.Decrypt(ctx, org, sealed, nil)
	ok(err)
	fmt.Printf("%s\n", plain)

	meta, err := v.Put(ctx, org, "stripe/api-key", []byte("sk_live_…")) // bytes that the vault keeps
	ok(err)
	obj, err := v.Get(ctx, org, "stripe/api-key")
	ok(err)
	fmt.Printf("version %d, %d bytes\n", meta.Number, len(obj.Value))
	// Output:
	// secret
	// version 1, 11 bytes
}

// Another organisation can't decrypt it, whoever asks.
func ExampleVault_Decrypt() {
	ctx, v := context.Background(), exampleVault()
	defer v.Close()
	sealed, err := v.Encrypt(ctx, vault.KeyContext{"organization_id": "org_01"}, []byte("secret"), []byte("invoice 4711"))
	ok(err)
	_, err = v.Decrypt(ctx, vault.KeyContext{"organization_id": "org_02"}, sealed, []byte("invoice 4711"))
	fmt.Println(errors.Is(err, vault.ErrWrongContext))
	_, err = v.Decrypt(ctx, vault.KeyContext{"organization_id": "org_01"}, sealed, []byte("invoice 4712"))
	fmt.Println(errors.Is(err, vault.ErrDecrypt))
	// Output:
	// true
	// true
}

// The text form is for TEXT columns and JSON.
func ExampleVault_EncryptString() {
	ctx, v := context.Background(), exampleVault()
	defer v.Close()
	org := vault.KeyContext{"organization_id": "org_01"}
	text, err := v.EncryptString(ctx, org, "secret", nil)
	ok(err)
	plain, err := v.DecryptString(ctx, org, text, nil)
	ok(err)
	fmt.Println(text[:5], plain)
	// Output: vlt1. secret
}

// A scope is a vault bound to one key context.
func ExampleVault_Scope() {
	ctx, v := context.Background(), exampleVault()
	defer v.Close()
	org := v.Scope(vault.KeyContext{"organization_id": "org_01"})
	_, err := org.Put(ctx, "smtp/password", []byte("hunter2"))
	ok(err)
	obj, err := org.Get(ctx, "smtp/password")
	ok(err)
	fmt.Println(len(obj.Value))
	fmt.Println(obj) // prints no secret, whatever the verb
	// Output:
	// 7
	// vault.Object{"smtp/password", version 1, 7 bytes}
}

// Two writers who both saw version 1: the second is told.
func ExampleIfVersion() {
	ctx, v := context.Background(), exampleVault()
	defer v.Close()
	org := v.Scope(vault.KeyContext{"organization_id": "org_01"})
	first, err := org.Put(ctx, "token", []byte("one"), vault.IfAbsent())
	ok(err)
	_, err = org.Put(ctx, "token", []byte("two"), vault.IfVersion(first.VersionID))
	ok(err)
	_, err = org.Put(ctx, "token", []byte("two, too"), vault.IfVersion(first.VersionID))
	fmt.Println(errors.Is(err, vault.ErrVersionConflict))

	old, err := org.Get(ctx, "token", vault.AtVersion(first.VersionID))
	ok(err)
	fmt.Printf("%s\n", old.Value)
	for meta, err := range org.Versions(ctx, "token") {
		ok(err)
		fmt.Println("version", meta.Number)
	}
	// Output:
	// true
	// one
	// version 2
	// version 1
}

// Everything of an organisation, whatever else its contexts say.
func ExampleVault_List() {
	ctx, v := context.Background(), exampleVault()
	defer v.Close()
	for _, user := range []string{"u_1", "u_2"} {
		kc := vault.KeyContext{"organization_id": "org_01", "user_id": user}
		_, err := v.Put(ctx, kc, "totp-seed", []byte("seed of "+user), vault.Labels(map[string]string{"kind": "mfa"}))
		ok(err)
	}
	n := 0
	for meta, err := range v.List(ctx, vault.KeyContext{"organization_id": "org_01"}, vault.ListOptions{Within: true}) {
		ok(err)
		n++
		fmt.Println(meta.Name, meta.Labels["kind"])
	}
	fmt.Println(n)
	// Output:
	// totp-seed mfa
	// totp-seed mfa
	// 2
}

func ExampleExpiresAt() {
	ctx, v := context.Background(), exampleVault()
	defer v.Close()
	org := v.Scope(vault.KeyContext{"organization_id": "org_01"})
	_, err := org.Put(ctx, "session", []byte("…"), vault.ExpiresAt(time.Now().Add(20*time.Millisecond)))
	ok(err)
	time.Sleep(30 * time.Millisecond)
	_, err = org.Get(ctx, "session")
	fmt.Println(errors.Is(err, vault.ErrNotFound))
	deleted, err := v.Sweep(ctx) // the background does it, too
	ok(err)
	fmt.Println(deleted)
	// Output:
	// true
	// 1
}

// A data key is for your own cryptography: keep Sealed beside what Key encrypts.
func ExampleVault_CreateDataKey() {
	ctx, v := context.Background(), exampleVault()
	defer v.Close()
	org := vault.KeyContext{"organization_id": "org_01"}
	dek, err := v.CreateDataKey(ctx, org)
	ok(err)
	again, err := v.DecryptDataKey(ctx, org, dek.Sealed)
	ok(err)
	fmt.Println(len(dek.Key), bytes.Equal(dek.Key, again))
	clear(dek.Key)
	// Output: 32 true
}

// Who did what, when and why, to a logger of yours. FailClosed makes it a
// condition.
func ExampleSlogSink() {
	var log bytes.Buffer
	handler := slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch a.Key {
		case slog.MessageKey, "actor", "reason", "object":
			return a
		}
		return slog.Attr{} // what differs from run to run
	}})
	v := exampleVault(func(c *vault.Config) { c.OnEvent, c.FailClosed = vault.SlogSink(handler), true })
	defer v.Close()
	ctx := vault.WithReason(vault.WithActor(context.Background(), "alice"), "ticket 4711")
	org := v.Scope(vault.KeyContext{"organization_id": "org_01"})
	_, err := org.Put(ctx, "stripe/api-key", []byte("sk_live_…"))
	ok(err)
	_, err = org.Get(ctx, "stripe/api-key")
	ok(err)
	fmt.Print(log.String())
	// Output:
	// msg=key.created actor=alice reason="ticket 4711"
	// msg=data.created actor=alice reason="ticket 4711" object=stripe/api-key
	// msg=data.read actor=alice reason="ticket 4711" object=stripe/api-key
}

// Customers bring their own keys: your own table says whose is whose.
func ExampleConfig_policy() {
	ctx := context.Background()
	ours, theirs := memkek.New("ours"), memkek.New("acme")
	table := map[string]kek.Wrapper{"acme": theirs}
	policy := kek.PolicyFunc(func(_ context.Context, kc vault.KeyContext) (kek.Choice, error) {
		if w, ok := table[kc["organization_id"]]; ok {
			return kek.Choice{KEKs: []kek.Wrapper{w}}, nil
		}
		return kek.Choice{KEKs: []kek.Wrapper{ours}}, nil
	})
	v, err := vault.New(vault.Config{Policy: policy, Store: memstore.New()})
	ok(err)
	defer v.Close()

	acme := vault.KeyContext{"organization_id": "acme"}
	ok(v.VerifyKEK(ctx, acme)) // before it is relied on
	_, err = v.Encrypt(ctx, acme, []byte("secret"), nil)
	ok(err)
	fmt.Println(ours.Calls(), theirs.Calls())

	theirs.SetFault(memkek.Denied) // the customer revokes their key
	fmt.Println(errors.Is(v.VerifyKEK(ctx, acme), vault.ErrKEKDenied))
	// Output:
	// 0 4
	// true
}

// Rules are the same in memory, changeable while running.
func ExampleConfig_rules() {
	ctx := context.Background()
	ours, theirs := memkek.New("ours"), memkek.New("acme")
	rules, err := kek.NewRules(kek.Choice{KEKs: []kek.Wrapper{ours}})
	ok(err)
	v, err := vault.New(vault.Config{Policy: rules, Store: memstore.New()})
	ok(err)
	defer v.Close()
	acme := vault.KeyContext{"organization_id": "acme"}
	ok(rules.Set(acme, kek.Choice{KEKs: []kek.Wrapper{theirs}}))
	_, err = v.Encrypt(ctx, acme, []byte("secret"), nil)
	ok(err)
	fmt.Println(ours.Calls(), theirs.Calls())
	fmt.Println(rules.Remove(acme) != nil) // it would send acme's data to the default: that takes RemoveToDefault
	// Output:
	// 0 2
	// true
}

// You and your customer together: neither KEK alone opens it.
func ExampleConfig_allOf() {
	ctx := context.Background()
	ours, theirs := memkek.New("ours"), memkek.New("theirs")
	both := kek.Choice{KEKs: []kek.Wrapper{ours, theirs}, Quorum: kek.AllOf}
	policy := kek.PolicyFunc(func(context.Context, vault.KeyContext) (kek.Choice, error) { return both, nil })
	store := memstore.New()
	org := vault.KeyContext{"organization_id": "org_01"}

	v, err := vault.New(vault.Config{Policy: policy, Store: store})
	ok(err)
	sealed, err := v.Encrypt(ctx, org, []byte("secret"), nil)
	ok(err)
	ok(v.Close())

	theirs.SetFault(memkek.Denied)
	v, err = vault.New(vault.Config{Policy: policy, Store: store})
	ok(err)
	defer v.Close()
	_, err = v.Decrypt(ctx, org, sealed, nil)
	fmt.Println(errors.Is(err, vault.ErrKEKDenied))
	// Output: true
}

// Without a store every envelope carries its own wrapped key.
func ExampleConfig_selfContained() {
	ctx := context.Background()
	root := memkek.New("root")
	v, err := vault.New(vault.Config{KEK: root})
	ok(err)
	defer v.Close()
	org := vault.KeyContext{"organization_id": "org_01"}
	sealed, err := v.Encrypt(ctx, org, []byte("secret"), nil)
	ok(err)

	elsewhere, err := vault.New(vault.Config{KEK: root.Peer()})
	ok(err)
	defer elsewhere.Close()
	plain, err := elsewhere.Decrypt(ctx, org, sealed, nil)
	ok(err)
	fmt.Printf("%s\n", plain)
	// Output: secret
}

// What an envelope tells without a key.
func ExampleInspect() {
	ctx := context.Background()
	v, err := vault.New(vault.Config{KEK: memkek.New("root")})
	ok(err)
	defer v.Close()
	sealed, err := v.Encrypt(ctx, vault.KeyContext{"organization_id": "org_01"}, []byte("secret"), nil)
	ok(err)
	info, err := vault.Inspect(sealed)
	ok(err)
	fmt.Println(info.Kind, info.PlaintextSize, info.KEKs)
	// Output: self-contained message 6 [mem:root]
}

// A scope as Tink's interface, for code that is written against it.
func ExampleScope_AEAD() {
	ctx, v := context.Background(), exampleVault()
	defer v.Close()
	aead := v.Scope(vault.KeyContext{"organization_id": "org_01"}).AEAD(ctx)
	sealed, err := aead.Encrypt([]byte("secret"), []byte("row 7"))
	ok(err)
	plain, err := aead.Decrypt(sealed, []byte("row 7"))
	ok(err)
	fmt.Printf("%s\n", plain)
	// Output: secret
}

// Old data stays readable after its key was rotated.
func ExampleVault_Rotate() {
	ctx, v := context.Background(), exampleVault()
	defer v.Close()
	org := v.Scope(vault.KeyContext{"organization_id": "org_01"})
	before, err := org.Encrypt(ctx, []byte("old"), nil)
	ok(err)
	ok(org.Rotate(ctx))
	after, err := org.Encrypt(ctx, []byte("new"), nil)
	ok(err)
	a, err := vault.Inspect(before)
	ok(err)
	b, err := vault.Inspect(after)
	ok(err)
	plain, err := org.Decrypt(ctx, before, nil)
	ok(err)
	fmt.Printf("%s, same key: %v\n", plain, a.KeyID == b.KeyID)
	// Output: old, same key: false
}

// Keys made ahead of time: nothing waits for the KMS later.
func ExampleVault_Prepare() {
	ctx := context.Background()
	root := memkek.New("root")
	v := exampleVault(func(c *vault.Config) { c.KEK = root })
	defer v.Close()
	org := vault.KeyContext{"organization_id": "org_01"}
	ok(v.Check(ctx)) // a readiness probe
	ok(v.Prepare(ctx, org))
	calls := root.Calls()
	_, err := v.Encrypt(ctx, org, []byte("secret"), nil)
	ok(err)
	fmt.Println(root.Calls() - calls)
	// Output: 0
}

// A backup is taken while the vault runs.
func Example_backup() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "vault-example-")
	ok(err)
	defer os.RemoveAll(dir)
	store, err := boltstore.Open(filepath.Join(dir, "vault.db"))
	ok(err)
	defer store.Close()
	root := memkek.New("root")
	v, err := vault.New(vault.Config{KEK: root, Store: store})
	ok(err)
	defer v.Close()
	org := vault.KeyContext{"organization_id": "org_01"}
	_, err = v.Put(ctx, org, "token", []byte("kept"))
	ok(err)

	copied, err := os.Create(filepath.Join(dir, "backup.db"))
	ok(err)
	ok(store.Backup(ctx, copied))
	ok(copied.Close())

	restored, err := boltstore.Open(filepath.Join(dir, "backup.db"))
	ok(err)
	defer restored.Close()
	again, err := vault.New(vault.Config{KEK: root.Peer(), Store: restored})
	ok(err)
	defer again.Close()
	obj, err := again.Get(ctx, org, "token")
	ok(err)
	fmt.Printf("%s\n", obj.Value)
	// Output: kept
}
