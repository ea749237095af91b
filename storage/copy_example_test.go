package storage_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/boltstore"
	"github.com/embedvault/vault/storage/memstore"
)

// A store is moved to another kind of database while nothing writes to it. Run
// again after an interruption, it goes on.
func ExampleCopy() {
	ctx := context.Background()
	src := exampleStore(ctx) // in your program: the store that you have
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	dst, err := boltstore.Open(filepath.Join(dir, "vault.db")) // the one that you want
	if err != nil {
		log.Fatal(err)
	}
	defer dst.Close()

	report, err := storage.Copy(ctx, dst, src, storage.CopyOptions{})
	if err != nil {
		log.Fatal(err) // ErrCopyDiffers: dst holds something else
	}
	fmt.Println("copied", report.KeysCopied, "keys and", report.VersionsCopied, "versions")

	report, err = storage.Copy(ctx, dst, src, storage.CopyOptions{VerifyOnly: true})
	fmt.Println("verified", report.Keys, "keys and", report.Versions, "versions:", err)
	// Output:
	// copied 1 keys and 1 versions
	// verified 1 keys and 1 versions: <nil>
}

func exampleStore(ctx context.Context) storage.Store {
	s := memstore.New()
	kc := keyctx.KeyContext{"organization_id": "org_01"}
	h, err := kc.Hash()
	if err != nil {
		log.Fatal(err)
	}
	id := keyctx.KeyID{1}
	err = s.InsertKey(ctx, storage.KeyRecord{
		KeyID: id, Context: kc, ContextHash: h, Purpose: keyctx.PurposeData, Version: 1, State: storage.StateActive,
	})
	if err == nil {
		err = s.ImportVersion(ctx, storage.ObjectRecord{
			ID: storage.ID{1}, Context: kc, ContextHash: h, Name: "api key",
			VersionID: storage.ID{2}, Number: 1, KeyID: id, Envelope: []byte("sealed"),
		})
	}
	if err != nil {
		log.Fatal(err)
	}
	return s
}
