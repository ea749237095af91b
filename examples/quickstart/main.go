// Quickstart shows the vault on its embedded default: a local KEK in a file and
// a bbolt database beside it.
//
//	go run ./examples/quickstart                     # two organisations shipped with it
//	go run ./examples/quickstart one.env two.env     # yours; the file's name is the organisation
//	go run ./examples/quickstart -dir ./vault-data   # keep the KEK and the database
//
// Without -dir it leaves nothing behind.
package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/joho/godotenv"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/tinkkek"
	"github.com/embedvault/vault/storage/boltstore"
)

//go:embed acme.env globex.env
var shipped embed.FS

func main() {
	dir := flag.String("dir", "", "keep the KEK and the database in this folder")
	flag.Parse()
	if err := run(context.Background(), *dir, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// organisation is one customer, and the secrets it gave us.
type organisation struct {
	context vault.KeyContext
	secrets map[string]string
}

func run(ctx context.Context, dir string, paths []string) error {
	orgs, err := readOrganisations(paths)
	if err != nil {
		return err
	}
	if len(orgs) < 2 {
		return errors.New("give it the .env files of at least two organisations")
	}
	if dir == "" {
		if dir, err = os.MkdirTemp("", "quickstart-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	calls := uint64(0)
	for _, step := range []func(context.Context, *vault.Vault, []organisation) error{store, readBack, refuse, versions} {
		n, err := withVault(dir, func(v *vault.Vault) error { return step(ctx, v, orgs) })
		if err != nil {
			return err
		}
		calls += n
	}
	fmt.Printf("\nAll of it took %d KEK calls: two for each new key (wrap it, check the wrapping),\n", calls)
	fmt.Println("one for each key loaded after the vault was opened again; none for a secret.")
	return nil
}

// withVault opens the vault in dir, runs f with it, and closes it again. It
// returns how many calls the KEK got.
func withVault(dir string, f func(*vault.Vault) error) (calls uint64, err error) {
	root, err := tinkkek.LoadOrCreate(filepath.Join(dir, "root-keyset.json"))
	if err != nil {
		return 0, err
	}
	db, err := boltstore.Open(filepath.Join(dir, "vault.db"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	v, err := vault.New(vault.Config{KEK: root, Store: db})
	if err != nil {
		return 0, err
	}
	defer v.Close()
	err = f(v)
	for _, k := range v.Stats().KEKs {
		calls += k.Calls()
	}
	return calls, err
}

// store puts every entry under its organisation.
func store(ctx context.Context, v *vault.Vault, orgs []organisation) error {
	fmt.Println("Stored, each under its organisation's own key:")
	for _, org := range orgs {
		for _, name := range sorted(org.secrets) {
			if _, err := v.Put(ctx, org.context, name, []byte(org.secrets[name])); err != nil {
				return err
			}
		}
		fmt.Printf("  %-10s %d secrets\n", org.context["organization_id"], len(org.secrets))
	}
	return nil
}

// readBack runs after the vault was closed and opened again.
func readBack(ctx context.Context, v *vault.Vault, orgs []organisation) error {
	fmt.Println("\nRead back from disk, with the vault closed and opened again:")
	for _, org := range orgs {
		same := 0
		for meta, err := range v.List(ctx, org.context, vault.ListOptions{}) {
			if err != nil {
				return err
			}
			obj, err := v.Get(ctx, org.context, meta.Name)
			if err != nil {
				return err
			}
			if want, ok := org.secrets[meta.Name]; ok {
				if string(obj.Value) != want {
					return fmt.Errorf("%s came back changed", meta.Name)
				}
				same++
			}
		}
		if same != len(org.secrets) {
			return fmt.Errorf("%d of %d secrets came back", same, len(org.secrets))
		}
		fmt.Printf("  %-10s %d of %d the same\n", org.context["organization_id"], same, len(org.secrets))
	}
	return nil
}

// refuse shows what an envelope is good for in the wrong hands.
func refuse(ctx context.Context, v *vault.Vault, orgs []organisation) error {
	owner, other := orgs[0], orgs[1]
	sealed, err := v.Encrypt(ctx, owner.context, []byte("only for the owner"), nil)
	if err != nil {
		return err
	}
	info, err := vault.Inspect(sealed)
	if err != nil {
		return err
	}
	fmt.Printf("\nAn envelope of %s: %d bytes for %d, key %s…\n", owner.context["organization_id"], info.Size, info.PlaintextSize, info.KeyID.Short())

	_, err = v.Decrypt(ctx, other.context, sealed, nil)
	if !errors.Is(err, vault.ErrWrongContext) {
		return fmt.Errorf("%s should have been refused: %v", other.context["organization_id"], err)
	}
	fmt.Printf("  %s may not read it:  %v\n", other.context["organization_id"], err)

	flipped := bytes.Clone(sealed)
	flipped[len(flipped)-1] ^= 1
	_, err = v.Decrypt(ctx, owner.context, flipped, nil)
	if !errors.Is(err, vault.ErrDecrypt) {
		return fmt.Errorf("a flipped bit should have been refused: %v", err)
	}
	fmt.Printf("  one bit flipped:  %v\n", err)
	return nil
}

// versions shows an update that must not overwrite what it hasn't seen.
func versions(ctx context.Context, v *vault.Vault, orgs []organisation) error {
	org := v.Scope(orgs[0].context)
	name := sorted(orgs[0].secrets)[0]
	seen, err := org.Get(ctx, name)
	if err != nil {
		return err
	}
	if _, err := org.Put(ctx, name, []byte("rotated"), vault.IfVersion(seen.VersionID)); err != nil {
		return err
	}
	_, err = org.Put(ctx, name, []byte("rotated by someone slower"), vault.IfVersion(seen.VersionID))
	if !errors.Is(err, vault.ErrVersionConflict) {
		return fmt.Errorf("the second update should have been refused: %v", err)
	}
	fmt.Printf("\nTwo updates of %s from the same version: the first is stored, the second is not:\n  %v\n", name, err)
	fmt.Println("Its versions, newest first:")
	for meta, err := range org.Versions(ctx, name) {
		if err != nil {
			return err
		}
		old, err := org.Get(ctx, name, vault.AtVersion(meta.VersionID))
		if err != nil {
			return err
		}
		fmt.Printf("  %d  %s  %d bytes\n", meta.Number, meta.VersionID, len(old.Value))
	}
	return nil
}

// readOrganisations reads .env files; a file's name says whose it is.
func readOrganisations(paths []string) ([]organisation, error) {
	open := os.ReadFile
	if len(paths) == 0 {
		paths, open = []string{"acme.env", "globex.env"}, shipped.ReadFile
	}
	var orgs []organisation
	for _, path := range paths {
		data, err := open(path)
		if err != nil {
			return nil, err
		}
		secrets, err := godotenv.UnmarshalBytes(data)
		if err != nil {
			return nil, fmt.Errorf("%s is not a .env file", path) // the parser's error may quote a secret
		}
		if len(secrets) == 0 {
			return nil, fmt.Errorf("%s has no entries", path)
		}
		id := strings.TrimSuffix(filepath.Base(path), ".env")
		orgs = append(orgs, organisation{context: vault.KeyContext{"organization_id": id}, secrets: secrets})
	}
	return orgs, nil
}

func sorted(secrets map[string]string) []string { return slices.Sorted(maps.Keys(secrets)) }
