// The example gorm is a program with GORM whose users' e-mail addresses and tax numbers
// are encrypted: it creates users of two organisations, finds one by e-mail, lists a
// page without decrypting anything, rotates a key, and cuts an organisation off.
//
//	go run ./examples/gorm
//
// It keeps everything in a folder that it removes: a SQLite database, and the vault's
// keys in a bbolt database beside it.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/libtnb/sqlite"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/tinkkek"
	"github.com/embedvault/vault/storage/boltstore"
	"github.com/embedvault/vault/vaultgorm"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "gorm:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	dir, err := os.MkdirTemp("", "vault-gorm-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	return runIn(ctx, dir, out)
}

func runIn(ctx context.Context, dir string, out io.Writer) error {
	root, err := tinkkek.LoadOrCreate(filepath.Join(dir, "root-keyset.json"))
	if err != nil {
		return err
	}
	store, err := boltstore.Open(filepath.Join(dir, "vault.db"))
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	v, err := vault.New(vault.Config{KEK: root, Store: store})
	if err != nil {
		return err
	}
	defer func() { _ = v.Close() }()
	db, err := open(filepath.Join(dir, "app.db"), v)
	if err != nil {
		return err
	}
	defer closeDB(db)
	return story(ctx, db, v, out)
}

func closeDB(db *gorm.DB) {
	if pool, err := db.DB(); err == nil {
		_ = pool.Close()
	}
}

// User is a row of the table users. Its key is made by the program, because the fields
// are bound to it.
type User struct {
	ID    string `gorm:"primaryKey;size:36"`
	OrgID string `gorm:"size:36" vault:"table:users;context:organization_id=OrgID"`
	Name  string

	Email     vault.Encrypted[string] `gorm:"serializer:vault;type:bytes" vault:"index:email_bidx,email@1"`
	EmailBidx []byte                  `gorm:"size:16;index"`
	TaxNumber vault.Encrypted[string] `gorm:"serializer:vault;type:bytes"`
}

func open(path string, v *vault.Vault) (*gorm.DB, error) {
	db, err := gorm.Open(sqlite.Open(path), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		return nil, err
	}
	if err := db.Use(vaultgorm.Plugin{Vault: v, Models: []any{&User{}}}); err != nil {
		return nil, err
	}
	return db, db.AutoMigrate(&User{})
}

// of returns the ctx of an organisation: whose rows are searched.
func of(ctx context.Context, org string) context.Context {
	return vault.WithKeyContext(ctx, vault.KeyContext{"organization_id": org})
}

func create(ctx context.Context, db *gorm.DB, org, name, email, taxNumber string) (*User, error) {
	u := &User{ID: rand.Text(), OrgID: org, Name: name, Email: vault.Seal(email), TaxNumber: vault.Seal(taxNumber)}
	return u, db.WithContext(ctx).Create(u).Error
}

func byEmail(ctx context.Context, db *gorm.DB, org, email string) (User, error) {
	var u User
	return u, db.WithContext(of(ctx, org)).Where(vaultgorm.Eq("Email", email)).First(&u).Error
}

func changeEmail(ctx context.Context, db *gorm.DB, u *User, email string) error {
	return db.WithContext(ctx).Model(u).Update("Email", vault.Seal(email)).Error
}

// reencrypt moves the tax numbers of an organisation to the key that is active now.
func reencrypt(ctx context.Context, db *gorm.DB, v *vault.Vault, org string) (moved int, err error) {
	var page []User
	tx := db.WithContext(ctx).Where("org_id = ?", org).FindInBatches(&page, 100, func(*gorm.DB, int) error {
		for _, u := range page {
			n, err := reencryptOne(ctx, db, v, u)
			if err != nil {
				return err
			}
			moved += n
		}
		return nil
	})
	return moved, tx.Error
}

// reencryptOne leaves a row alone that somebody else has written meanwhile.
func reencryptOne(ctx context.Context, db *gorm.DB, v *vault.Vault, u User) (int, error) {
	org := vault.KeyContext{"organization_id": u.OrgID}
	sealed, err := u.TaxNumber.Value()
	if err != nil || sealed == nil {
		return 0, err
	}
	stale, err := v.NeedsReencrypt(ctx, org, sealed.([]byte))
	if err != nil || !stale {
		return 0, err
	}
	fresh, err := v.Reencrypt(ctx, org, sealed.([]byte), nil)
	if err != nil {
		return 0, err
	}
	tx := db.WithContext(ctx).Model(&u).Where("tax_number = ?", u.TaxNumber).Update("TaxNumber", vault.SealedBytes[string](fresh))
	return int(tx.RowsAffected), tx.Error
}

// story is what the program does.
func story(ctx context.Context, db *gorm.DB, v *vault.Vault, out io.Writer) error {
	for _, p := range [][4]string{
		{"acme", "Ann", "ann@acme.example", "756.1234.5678.97"},
		{"acme", "Ben", "Ben@Acme.example", "756.9217.0769.85"},
		{"globex", "Eve", "eve@globex.example", "756.3047.5009.62"},
	} {
		if _, err := create(ctx, db, p[0], p[1], p[2], p[3]); err != nil {
			return err
		}
	}

	ben, err := byEmail(ctx, db, "acme", "BEN@acme.example")
	if err != nil {
		return err
	}
	tax, err := ben.TaxNumber.Open(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "found by e-mail: %s, tax number %s, printed: %v\n", ben.Name, tax, ben.Email)
	if err := changeEmail(ctx, db, &ben, "benjamin@acme.example"); err != nil {
		return err
	}
	if _, err := byEmail(ctx, db, "acme", "ben@acme.example"); !errors.Is(err, gorm.ErrRecordNotFound) {
		return fmt.Errorf("the old address still finds: %w", err)
	}

	if err := list(ctx, db, out); err != nil {
		return err
	}
	if err := v.Rotate(ctx, vault.KeyContext{"organization_id": "acme"}); err != nil {
		return err
	}
	moved, err := reencrypt(ctx, db, v, "acme")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "acme's key was rotated, and %d tax numbers were re-encrypted\n", moved)

	if _, err := v.Shred(ctx, vault.KeyContext{"organization_id": "globex"}, vault.ShredOptions{}); err != nil {
		return err
	}
	fmt.Fprintln(out, "globex was cut off")
	return list(ctx, db, out)
}

// list shows all users. Nothing is decrypted for the list itself; then each tax number
// is asked for.
func list(ctx context.Context, db *gorm.DB, out io.Writer) error {
	var page []User
	if err := db.WithContext(ctx).Order("name").Limit(20).Find(&page).Error; err != nil {
		return err
	}
	for _, u := range page {
		tax, err := u.TaxNumber.Open(ctx)
		if errors.Is(err, vault.ErrKeyShredded) {
			tax = "(gone for good)"
		} else if err != nil {
			return err
		}
		fmt.Fprintf(out, "  %-7s %s  %s\n", u.OrgID, u.Name, tax)
	}
	return nil
}
