package tinkkek_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/tinkkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// exampleBinding is what the vault binds a wrapped key to.
func exampleBinding() kek.Binding {
	kc := keyctx.KeyContext{"organization_id": "org_01"}
	hash, err := kc.Hash()
	if err != nil {
		log.Fatal(err)
	}
	return kek.Binding{ContextHash: hash, Purpose: keyctx.PurposeData, Version: 1, Context: kc}
}

func ExampleLoadOrCreate() {
	dir, err := os.MkdirTemp("", "tinkkek")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	root, err := tinkkek.LoadOrCreate(filepath.Join(dir, "root-keyset.json"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(root.URI())
	// Output: tink-keyset:local
}

func ExampleLoad() {
	_, err := tinkkek.Load("no-such-keyset.json", tinkkek.Options{Name: "payments"})
	fmt.Println(errors.Is(err, fs.ErrNotExist))
	// Output: true
}

func ExampleRotate() {
	dir, err := os.MkdirTemp("", "tinkkek")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "root-keyset.json")
	root, err := tinkkek.LoadOrCreate(path)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	wrapped, err := root.Wrap(ctx, []byte("the 32 bytes of some context key"), exampleBinding())
	if err != nil {
		log.Fatal(err)
	}

	if err := tinkkek.Rotate(path); err != nil {
		log.Fatal(err)
	}
	key, err := root.Unwrap(ctx, wrapped, exampleBinding())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", key)
	// Output: the 32 bytes of some context key
}

// The key that encrypts the keyset would be in a KMS, by one of Tink's
// integrations; here it is made on the spot.
func ExampleOptions_encryption() {
	dir, err := os.MkdirTemp("", "tinkkek")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	handle, err := keyset.NewHandle(aead.AES256CTRHMACSHA256KeyTemplate())
	if err != nil {
		log.Fatal(err)
	}
	inKMS, err := aead.New(handle)
	if err != nil {
		log.Fatal(err)
	}

	path := filepath.Join(dir, "root-keyset.json")
	_, err = tinkkek.LoadOrCreate(path, tinkkek.Options{Encryption: inKMS})
	fmt.Println(err)
	_, err = tinkkek.Load(path) // without it
	fmt.Println(errors.Is(err, tinkkek.ErrKeyset))
	// Output:
	// <nil>
	// true
}

func ExampleNew() {
	handle, err := keyset.NewHandle(aead.AES256CTRHMACSHA256KeyTemplate())
	if err != nil {
		log.Fatal(err)
	}
	root, err := tinkkek.New(handle, tinkkek.Options{Name: "payments"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(root.URI())
	// Output: tink-keyset:payments
}

func ExampleFromAEAD() {
	handle, err := keyset.NewHandle(aead.AES256CTRHMACSHA256KeyTemplate())
	if err != nil {
		log.Fatal(err)
	}
	a, err := aead.New(handle)
	if err != nil {
		log.Fatal(err)
	}
	root, err := tinkkek.FromAEAD("app:root", a, tinkkek.Options{Classify: tinkkek.ClassifyLocal})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(root.URI())
	// Output: tink+app:root
}
