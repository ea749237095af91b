package vault_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/kek/tinkkek"
	"github.com/embedvault/vault/storage/boltstore"
	"github.com/embedvault/vault/storage/memstore"
)

// inTempDir runs an example that writes files in a folder of its own. It returns
// what removes it.
func inTempDir() func() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	before, err := os.Getwd()
	if err != nil {
		log.Fatal(err)
	}
	if err := os.Chdir(dir); err != nil {
		log.Fatal(err)
	}
	return func() {
		if err := errors.Join(os.Chdir(before), os.RemoveAll(dir)); err != nil {
			log.Fatal(err)
		}
	}
}

// exampleVault is a vault on memory drivers.
func exampleVault() *vault.Vault {
	v, err := vault.New(vault.Config{KEK: memkek.New("example"), Store: memstore.New()})
	if err != nil {
		log.Fatal(err)
	}
	return v
}

func ExampleVault() {
	defer inTempDir()()
	ctx := context.Background()

	root, err := tinkkek.LoadOrCreate("root-keyset.json") // the KEK: here a file, in production a KMS
	if err != nil {
		log.Fatal(err)
	}
	store, err := boltstore.Open("vault.db")
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	v, err := vault.New(vault.Config{KEK: root, Store: store})
	if err != nil {
		log.Fatal(err)
	}
	defer v.Close()

	org := vault.KeyContext{"organization_id": "org_01"}
	sealed, err := v.Encrypt(ctx, org, []byte("secret"), nil) // bytes that you keep
	if err != nil {
		log.Fatal(err)
	}
	plain, err := v.Decrypt(ctx, org, sealed, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", plain)

	meta, err := v.Put(ctx, org, "stripe/api-key", []byte("sk_live_…")) // bytes that the vault keeps
	if err != nil {
		log.Fatal(err)
	}
	obj, err := v.Get(ctx, org, "stripe/api-key")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("version %d, %d bytes\n", meta.Number, len(obj.Value))

	// Output:
	// secret
	// version 1, 11 bytes
}

// Associated data ties an envelope to the place where it is kept.
func ExampleVault_Encrypt() {
	ctx, v := context.Background(), exampleVault()
	defer v.Close()
	org := vault.KeyContext{"organization_id": "org_01"}

	sealed, err := v.Encrypt(ctx, org, []byte("123-45-6789"), []byte("customers/7/ssn"))
	if err != nil {
		log.Fatal(err)
	}
	_, err = v.Decrypt(ctx, org, sealed, []byte("customers/8/ssn"))
	fmt.Println("moved to another row:", errors.Is(err, vault.ErrDecrypt))
	_, err = v.Decrypt(ctx, vault.KeyContext{"organization_id": "org_02"}, sealed, []byte("customers/7/ssn"))
	fmt.Println("read by another organisation:", errors.Is(err, vault.ErrWrongContext))

	// Output:
	// moved to another row: true
	// read by another organisation: true
}

func ExampleVault_EncryptString() {
	ctx, v := context.Background(), exampleVault()
	defer v.Close()
	org := vault.KeyContext{"organization_id": "org_01"}

	text, err := v.EncryptString(ctx, org, "ann@example.com", nil) // for a TEXT column
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(text[:5], strings.ContainsAny(text, "+/= \n"))
	email, err := v.DecryptString(ctx, org, text, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(email)

	// Output:
	// vlt1. false
	// ann@example.com
}

func ExampleVault_Scope() {
	ctx, v := context.Background(), exampleVault()
	defer v.Close()

	org := v.Scope(vault.KeyContext{"organization_id": "org_01"}) // once for each request, say
	for _, token := range []string{"one", "two"} {
		sealed, err := org.Encrypt(ctx, []byte(token), nil)
		if err != nil {
			log.Fatal(err)
		}
		plain, err := org.Decrypt(ctx, sealed, nil)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", plain)
	}

	// Output:
	// one
	// two
}

// A scope is a tink.AEAD, for code that is written against that.
func ExampleScope_AEAD() {
	ctx, v := context.Background(), exampleVault()
	defer v.Close()

	aead := v.Scope(vault.KeyContext{"organization_id": "org_01"}).AEAD(ctx)
	ciphertext, err := aead.Encrypt([]byte("secret"), []byte("aad"))
	if err != nil {
		log.Fatal(err)
	}
	plain, err := aead.Decrypt(ciphertext, []byte("aad"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", plain)

	// Output: secret
}

// Guards make read-modify-write safe without a lock.
func ExampleVault_Put_guarded() {
	ctx, v := context.Background(), exampleVault()
	defer v.Close()
	org := vault.KeyContext{"organization_id": "org_01"}

	first, err := v.Put(ctx, org, "token", []byte("old"), vault.IfAbsent())
	if err != nil {
		log.Fatal(err)
	}
	if _, err := v.Put(ctx, org, "token", []byte("new"), vault.IfVersion(first.VersionID)); err != nil {
		log.Fatal(err)
	}
	_, err = v.Put(ctx, org, "token", []byte("late"), vault.IfVersion(first.VersionID))
	fmt.Println("too late:", errors.Is(err, vault.ErrVersionConflict))

	for m, err := range v.Versions(ctx, org, "token") {
		if err != nil {
			log.Fatal(err)
		}
		obj, err := v.Get(ctx, org, "token", vault.AtVersion(m.VersionID))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("version %d: %s\n", m.Number, obj.Value)
	}

	// Output:
	// too late: true
	// version 2: new
	// version 1: old
}

func ExampleVault_Put_expiring() {
	ctx, v := context.Background(), exampleVault()
	defer v.Close()
	org := vault.KeyContext{"organization_id": "org_01"}

	_, err := v.Put(ctx, org, "session", []byte("s1"), vault.ExpiresAt(time.Now().Add(-time.Second)))
	if err != nil {
		log.Fatal(err)
	}
	_, err = v.Get(ctx, org, "session")
	fmt.Println("expired:", errors.Is(err, vault.ErrNotFound))
	n, err := v.Sweep(ctx) // which also happens by itself, once an hour
	fmt.Println("swept:", n, err)

	// Output:
	// expired: true
	// swept: 1 <nil>
}

// With Within a list is of every context that contains the given pairs: here
// of all users of an organisation.
func ExampleVault_List() {
	ctx, v := context.Background(), exampleVault()
	defer v.Close()

	for _, user := range []string{"ann", "bob"} {
		kc := vault.KeyContext{"organization_id": "org_01", "user_id": user}
		if _, err := v.Put(ctx, kc, "totp/seed", []byte("…"), vault.Labels(map[string]string{"device": "phone"})); err != nil {
			log.Fatal(err)
		}
	}
	org := vault.KeyContext{"organization_id": "org_01"}
	users := map[string]bool{}
	for m, err := range v.List(ctx, org, vault.ListOptions{Within: true, Prefix: "totp/"}) {
		if err != nil {
			log.Fatal(err)
		}
		users[m.Context["user_id"]+" "+m.Name+" "+m.Labels["device"]] = true
	}
	fmt.Println(users)

	// Output: map[ann totp/seed phone:true bob totp/seed phone:true]
}

func ExampleVault_GetMany() {
	ctx, v := context.Background(), exampleVault()
	defer v.Close()
	org := vault.KeyContext{"organization_id": "org_01"}

	for _, name := range []string{"db/user", "db/password"} {
		if _, err := v.Put(ctx, org, name, []byte("value of "+name)); err != nil {
			log.Fatal(err)
		}
	}
	objects, err := v.GetMany(ctx, org, "db/user", "db/password", "db/host")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d of 3: %s\n", len(objects), objects["db/user"].Value)

	// Output: 2 of 3: value of db/user
}

// A data key encrypts something by the caller's own means, here a file; the
// vault seals the key, which is kept beside the file.
func ExampleVault_CreateDataKey() {
	defer inTempDir()()
	ctx, v := context.Background(), exampleVault()
	defer v.Close()
	org := vault.KeyContext{"organization_id": "org_01"}

	key, err := v.CreateDataKey(ctx, org)
	if err != nil {
		log.Fatal(err)
	}
	ciphertext := gcmOf(key.Key).Seal(nil, nil, []byte("a report"), nil)
	clear(key.Key)
	if err := errors.Join(os.WriteFile("report", ciphertext, 0o600), os.WriteFile("report.key", key.Sealed, 0o600)); err != nil {
		log.Fatal(err)
	}

	ciphertext, err = os.ReadFile("report")
	if err != nil {
		log.Fatal(err)
	}
	sealed, err := os.ReadFile("report.key")
	if err != nil {
		log.Fatal(err)
	}
	opened, err := v.DecryptDataKey(ctx, org, sealed)
	if err != nil {
		log.Fatal(err)
	}
	report, err := gcmOf(opened).Open(nil, nil, ciphertext, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", report)

	// Output: a report
}

// gcmOf is AES-256-GCM with random nonces.
func gcmOf(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		log.Fatal(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		log.Fatal(err)
	}
	return aead
}

// A data key moves to another context without the data being touched.
func ExampleVault_RekeyDataKey() {
	ctx, v := context.Background(), exampleVault()
	defer v.Close()
	seller, buyer := vault.KeyContext{"organization_id": "org_01"}, vault.KeyContext{"organization_id": "org_02"}

	key, err := v.CreateDataKey(ctx, seller)
	if err != nil {
		log.Fatal(err)
	}
	moved, err := v.RekeyDataKey(ctx, seller, key.Sealed, buyer)
	if err != nil {
		log.Fatal(err)
	}
	opened, err := v.DecryptDataKey(ctx, buyer, moved)
	fmt.Println(bytes.Equal(opened, key.Key), err)

	// Output: true <nil>
}

// Every operation is an event. Here they are logged.
func ExampleSlogSink() {
	handler := slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch a.Key { // what differs from run to run
		case "time", "duration", "key_id", "object_id", "version_id", "context_hash":
			return slog.Attr{}
		}
		return a
	}})
	v, err := vault.New(vault.Config{
		KEK: memkek.New("example"), Store: memstore.New(),
		OnEvent:    vault.SlogSink(handler),
		FailClosed: true, // no secret is read without a line in the log
	})
	if err != nil {
		log.Fatal(err)
	}
	defer v.Close()

	ctx := vault.WithReason(vault.WithActor(context.Background(), "ann"), "ticket 7")
	org := vault.KeyContext{"organization_id": "org_01"}
	if _, err := v.Put(ctx, org, "stripe/api-key", []byte("sk_live_…")); err != nil {
		log.Fatal(err)
	}
	if _, err := v.Get(ctx, org, "stripe/api-key"); err != nil {
		log.Fatal(err)
	}

	// Output:
	// level=INFO msg=key.created actor=ann reason="ticket 7"
	// level=INFO msg=data.created actor=ann reason="ticket 7" object=stripe/api-key
	// level=INFO msg=data.read actor=ann reason="ticket 7" object=stripe/api-key
}

// Customers bring their own keys: the policy reads the application's own table.
// A customer who takes its key back cuts off its own data, and nobody else's.
func ExampleConfig_ownKeys() {
	ctx := context.Background()
	ours, acmes := memkek.New("ours"), memkek.New("acme")
	table := map[string]kek.Wrapper{"acme": acmes}

	v, err := vault.New(vault.Config{
		Store: memstore.New(),
		Policy: kek.PolicyFunc(func(_ context.Context, kc vault.KeyContext) (kek.Choice, error) {
			w, ok := table[kc["organization_id"]]
			if !ok {
				w = ours
			}
			return kek.Choice{KEKs: []kek.Wrapper{w}}, nil
		}),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer v.Close()

	acme, globex := vault.KeyContext{"organization_id": "acme"}, vault.KeyContext{"organization_id": "globex"}
	fmt.Println("acme's key works:", v.VerifyKEK(ctx, acme) == nil)
	acmes.SetFault(memkek.Denied)
	_, err = v.Encrypt(ctx, acme, []byte("secret"), nil)
	fmt.Println("acme took it back:", errors.Is(err, vault.ErrKEKDenied))
	_, err = v.Encrypt(ctx, globex, []byte("secret"), nil)
	fmt.Println("globex:", err)

	// Output:
	// acme's key works: true
	// acme took it back: true
	// globex: <nil>
}

// kek.Rules is a policy in memory that can be changed while it is used, and
// keeps what was chosen before for what is still wrapped under it.
func ExampleConfig_rules() {
	ctx := context.Background()
	rules, err := kek.NewRules(kek.Choice{KEKs: []kek.Wrapper{memkek.New("ours")}})
	if err != nil {
		log.Fatal(err)
	}
	v, err := vault.New(vault.Config{Policy: rules, Store: memstore.New()})
	if err != nil {
		log.Fatal(err)
	}
	defer v.Close()

	acme := vault.KeyContext{"organization_id": "acme"}
	sealed, err := v.Encrypt(ctx, acme, []byte("secret"), nil) // under our own KEK
	if err != nil {
		log.Fatal(err)
	}
	acmes := memkek.New("acme")
	if err := rules.Set(acme, kek.Choice{KEKs: []kek.Wrapper{acmes}}); err != nil {
		log.Fatal(err)
	}
	if err := v.Rotate(ctx, acme); err != nil { // a new key, under acme's KEK
		log.Fatal(err)
	}
	plain, err := v.Decrypt(ctx, acme, sealed, nil)
	fmt.Printf("%s %v, acme's KEK wrapped %d\n", plain, err, acmes.Wraps())

	// Output: secret <nil>, acme's KEK wrapped 1
}

// Any of several KEKs is enough to survive the loss of a region.
func ExampleConfig_anyOf() {
	ctx := context.Background()
	east, west := memkek.New("east"), memkek.New("west")
	both := kek.Choice{KEKs: []kek.Wrapper{east, west}, Quorum: kek.AnyOf}
	c := vault.Config{
		Store:  memstore.New(),
		Policy: kek.PolicyFunc(func(context.Context, vault.KeyContext) (kek.Choice, error) { return both, nil }),
	}
	org := vault.KeyContext{"organization_id": "org_01"}
	v, err := vault.New(c)
	if err != nil {
		log.Fatal(err)
	}
	sealed, err := v.Encrypt(ctx, org, []byte("secret"), nil)
	if err != nil {
		log.Fatal(err)
	}
	v.Close()

	east.SetFault(memkek.Corrupt) // the region is gone
	v, err = vault.New(c)
	if err != nil {
		log.Fatal(err)
	}
	defer v.Close()
	plain, err := v.Decrypt(ctx, org, sealed, nil)
	fmt.Printf("%s %v\n", plain, err)

	// Output: secret <nil>
}

// All of several KEKs: you and your customer together, neither of you alone.
func ExampleConfig_allOf() {
	ctx := context.Background()
	ours, theirs := memkek.New("ours"), memkek.New("theirs")
	both := kek.Choice{KEKs: []kek.Wrapper{ours, theirs}, Quorum: kek.AllOf}
	c := vault.Config{
		Policy: kek.PolicyFunc(func(context.Context, vault.KeyContext) (kek.Choice, error) { return both, nil }),
	}
	org := vault.KeyContext{"organization_id": "org_01"}
	v, err := vault.New(c)
	if err != nil {
		log.Fatal(err)
	}
	sealed, err := v.Encrypt(ctx, org, []byte("secret"), nil)
	if err != nil {
		log.Fatal(err)
	}
	v.Close()

	theirs.SetFault(memkek.Denied)
	v, err = vault.New(c)
	if err != nil {
		log.Fatal(err)
	}
	defer v.Close()
	_, err = v.Decrypt(ctx, org, sealed, nil)
	fmt.Println("without theirs:", errors.Is(err, vault.ErrKEKDenied))

	// Output: without theirs: true
}

// Without a store every envelope carries its wrapped key: the KEK alone opens
// it, anywhere.
func ExampleConfig_selfContained() {
	ctx := context.Background()
	root := memkek.New("root")
	org := vault.KeyContext{"organization_id": "org_01"}
	here, err := vault.New(vault.Config{KEK: root})
	if err != nil {
		log.Fatal(err)
	}
	defer here.Close()
	sealed, err := here.Encrypt(ctx, org, []byte("secret"), nil)
	if err != nil {
		log.Fatal(err)
	}
	there, err := vault.New(vault.Config{KEK: root})
	if err != nil {
		log.Fatal(err)
	}
	defer there.Close()
	plain, err := there.Decrypt(ctx, org, sealed, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", plain)

	// Output: secret
}

func ExampleInspect() {
	ctx := context.Background()
	v, err := vault.New(vault.Config{KEK: memkek.New("root")})
	if err != nil {
		log.Fatal(err)
	}
	defer v.Close()
	sealed, err := v.Encrypt(ctx, vault.KeyContext{"organization_id": "org_01"}, []byte("secret"), nil)
	if err != nil {
		log.Fatal(err)
	}
	info, err := vault.Inspect(sealed)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("a %v of %d bytes, key version %d under %v\n", info.Kind, info.PlaintextSize, info.KeyVersion, info.KEKs)

	// Output: a self-contained message of 6 bytes, key version 1 under [mem:root]
}

// While data moves from an older scheme, the vault reads both.
func ExampleConfig_legacy() {
	ctx := context.Background()
	old := gcmOf(bytes.Repeat([]byte{7}, 32)) // what the application used before
	org := vault.KeyContext{"organization_id": "org_01"}
	ancient := append([]byte("v0:"), old.Seal(nil, nil, []byte("from before"), []byte("org_01"))...)

	v, err := vault.New(vault.Config{
		KEK: memkek.New("root"), Store: memstore.New(),
		Legacy: func(_ context.Context, kc vault.KeyContext, data, _ []byte) ([]byte, error) {
			ciphertext, ok := bytes.CutPrefix(data, []byte("v0:"))
			if !ok {
				return nil, vault.ErrMalformed
			}
			return old.Open(nil, nil, ciphertext, []byte(kc["organization_id"])) // it authenticates, and checks whose it is
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer v.Close()
	plain, err := v.Decrypt(ctx, org, ancient, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s; %d left to move\n", plain, v.Stats().LegacyDecrypts)

	// Output: from before; 1 left to move
}

// Keys are made and loaded ahead of time; after that no call needs the KMS.
func ExampleVault_Prepare() {
	ctx := context.Background()
	root := memkek.New("root")
	v, err := vault.New(vault.Config{KEK: root, Store: memstore.New()})
	if err != nil {
		log.Fatal(err)
	}
	defer v.Close()
	org := vault.KeyContext{"organization_id": "org_01"}
	if err := errors.Join(v.Check(ctx), v.Prepare(ctx, org)); err != nil {
		log.Fatal(err)
	}
	before := root.Calls()
	for range 1000 {
		if _, err := v.Encrypt(ctx, org, []byte("secret"), nil); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("KMS calls:", root.Calls()-before)

	// Output: KMS calls: 0
}
