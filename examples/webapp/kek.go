package main

import (
	"path/filepath"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/tinkkek"
)

// openKEK opens the key that wraps every organisation's key. Here it is a file. With
// AWS KMS this function is one line, and nothing else changes:
//
//	return awskms.New(ctx, kms.NewFromConfig(awsConfig), os.Getenv("KMS_KEY_ARN"), awskms.Options{})
//
// What is stored already then moves with vault.Rewrap: see docs/BYOK.md.
func openKEK(cfg config) (kek.Wrapper, error) {
	if cfg.keyset != "" {
		return tinkkek.Load(cfg.keyset) // never makes one: a wrong path must not look like a new start
	}
	return tinkkek.LoadOrCreate(filepath.Join(cfg.dir, "root-keyset.json"))
}
