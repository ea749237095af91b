package vaultgorm_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"reflect"
	"strings"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"
	"gorm.io/gorm/utils/tests"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaultgorm"
	"github.com/embedvault/vault/vaulttest"
)

// dry returns a *gorm.DB without a database.
func dry(t *testing.T, p vaultgorm.Plugin) (*gorm.DB, error) {
	t.Helper()
	db, err := gorm.Open(tests.DummyDialector{}, &gorm.Config{DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	return db, db.Use(p)
}

type good struct {
	ID    string
	Email vault.Encrypted[string] `gorm:"serializer:vault;type:bytes" vault:"index:email_bidx,email@1"`
	Bidx  []byte                  `gorm:"column:email_bidx"`
}

// Wrong models are refused when they are registered, or first used, and the message
// says which field it is and what to do.
func TestModelsAreChecked(t *testing.T) {
	type (
		serial struct {
			ID    uint
			Email vault.Encrypted[string] `gorm:"serializer:vault;type:bytes"`
		}
		made struct {
			ID    string                  `gorm:"default:gen_random_uuid()"`
			Email vault.Encrypted[string] `gorm:"serializer:vault;type:bytes"`
		}
		keyless struct {
			Email vault.Encrypted[string] `gorm:"serializer:vault;type:bytes"`
		}
		text struct {
			ID    string
			Email vault.Encrypted[string] `gorm:"serializer:vault"`
		}
		varchar struct {
			ID    string
			Email vault.Encrypted[string] `gorm:"serializer:vault;type:varchar(255)"`
		}
		plain struct {
			ID    string
			Email string `gorm:"serializer:vault"`
		}
		pointer struct {
			ID    string
			Email *vault.Encrypted[string] `gorm:"serializer:vault;type:bytes"`
		}
		unserialized struct {
			ID    string
			Email vault.Encrypted[string]
		}
		indexless struct {
			ID    string
			Email vault.Encrypted[string] `gorm:"serializer:vault;type:bytes" vault:"index:email_bidx,email@1"`
		}
		defaulted struct {
			ID    string
			Email vault.Encrypted[string] `gorm:"serializer:vault;type:bytes;default:none"`
		}
		defaultIndex struct {
			ID    string
			Email vault.Encrypted[string] `gorm:"serializer:vault;type:bytes" vault:"index:email_bidx,email@1"`
			Bidx  []byte                  `gorm:"column:email_bidx;default:x"`
		}
		key struct {
			ID vault.Encrypted[string] `gorm:"primaryKey;serializer:vault;type:bytes" vault:"bind:column"`
		}
		shared struct {
			ID    string
			Email vault.Encrypted[string] `gorm:"serializer:vault;type:bytes" vault:"index:bidx,email@1"`
			Phone vault.Encrypted[string] `gorm:"serializer:vault;type:bytes" vault:"index:bidx,e164@1"`
			Bidx  []byte
		}
	)
	for _, c := range []struct {
		model any
		says  []string
	}{
		{&serial{}, []string{"Email", "ID", "UUID", "bind:column"}},
		{&made{}, []string{"Email", "ID", "UUID", "bind:column"}},
		{&keyless{}, []string{"Email", "primary key", "bind:column"}},
		{&text{}, []string{"Email", "bytea, blob or varbinary"}},
		{&varchar{}, []string{"Email", "varchar(255)", "varbinary"}},
		{&plain{}, []string{"Email", "vault.Encrypted[string]"}},
		{&pointer{}, []string{"Email", "pointer"}},
		{&unserialized{}, []string{"serializer:vault"}},
		{&indexless{}, []string{"Email", "email_bidx", "[]byte"}},
		{&defaulted{}, []string{"Email", "default"}},
		{&defaultIndex{}, []string{"Bidx", "default"}},
		{&key{}, []string{"ID", "primary key"}},
		{&shared{}, []string{"Phone", "bidx", "column of its own"}},
	} {
		_, err := dry(t, vaultgorm.Plugin{Models: []any{&good{}, c.model}})
		if !errors.Is(err, vault.ErrModel) {
			t.Errorf("%T: got error %v, want ErrModel", c.model, err)
			continue
		}
		for _, s := range c.says {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%T: the error %q lacks %q", c.model, err, s)
			}
		}
		db, err := dry(t, vaultgorm.Plugin{})
		if err != nil {
			t.Fatal(err)
		}
		for name, tx := range map[string]*gorm.DB{
			"create": db.Create(c.model), "save": db.Save(c.model), "update": db.Model(c.model).Where("1 = 1").Update("email", nil),
		} {
			if !errors.Is(tx.Error, vault.ErrModel) {
				t.Errorf("%T: %s: got error %v, want ErrModel", c.model, name, tx.Error)
			}
		}
	}
}

// The plugin needs its *gorm.DB, and that needs the plugin.
func TestPluginIsNeeded(t *testing.T) {
	v := vaulttest.New(t)
	ctx := vault.WithKeyContext(t.Context(), vault.KeyContext{"organization_id": "org_a"})
	db, err := dry(t, vaultgorm.Plugin{Vault: v.Vault})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Use(vaultgorm.Plugin{}); !errors.Is(err, gorm.ErrRegistered) {
		t.Fatalf("twice: %v", err)
	}
	if err := db.WithContext(ctx).Create(&good{ID: "x", Email: vault.Seal("a@example.org")}).Error; err != nil {
		t.Fatal(err)
	}
	bare, err := gorm.Open(tests.DummyDialector{}, &gorm.Config{DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	tx := bare.WithContext(ctx).Create(&good{ID: "x", Email: vault.Seal("a@example.org")})
	if tx.Error != nil {
		t.Fatal(tx.Error)
	}
	failed := false
	for _, v := range tx.Statement.Vars { // which the driver would ask
		if arg, ok := v.(driver.Valuer); ok {
			got, err := arg.Value()
			failed = failed || errors.Is(err, vaultgorm.ErrCondition) && got != nil
		}
	}
	if !failed {
		t.Fatal("a *gorm.DB without the plugin stores fields")
	}
	if err := bare.Where(vaultgorm.Eq("Email", "x")).Find(&[]good{}).Error; !errors.Is(err, vaultgorm.ErrNoPlugin) {
		t.Fatal(err)
	}
}

// A serializer of that name that is another's isn't replaced.
func TestSerializerIsTaken(t *testing.T) {
	schema.RegisterSerializer("vault", foreign{})
	defer schema.RegisterSerializer("vault", vaultgorm.Serializer{})
	if _, err := dry(t, vaultgorm.Plugin{}); err == nil {
		t.Fatal("it was taken over")
	}
}

type foreign struct{ schema.JSONSerializer }

// What the serializer makes of a value that nothing has sealed is an error and no NULL,
// which GORM would turn into IS NULL.
func TestSerializerNeverSaysNull(t *testing.T) {
	got, err := vaultgorm.Serializer{}.Value(context.Background(), &schema.Field{Schema: &schema.Schema{}}, reflect.Value{}, vault.Seal("x"))
	if b, ok := got.([]byte); !ok || b == nil || !errors.Is(err, vaultgorm.ErrCondition) {
		t.Fatalf("%v, %v", got, err)
	}
}
