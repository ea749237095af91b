package gormtest

import (
	"fmt"
	"sync/atomic"
	"testing"

	"gorm.io/gorm"

	"github.com/embedvault/vault"
)

// User has what most models have.
type User struct {
	ID    string `gorm:"primaryKey;size:36"`
	OrgID string `gorm:"size:64" vault:"table:users;context:organization_id=OrgID"`
	Name  string `gorm:"size:100"`

	Email     vault.Encrypted[string] `gorm:"serializer:vault;type:bytes" vault:"index:email_bidx,email@1,unique"`
	EmailBidx []byte                  `gorm:"size:16;uniqueIndex"`
	SSN       vault.Encrypted[string] `gorm:"serializer:vault;type:bytes"`

	DeletedAt gorm.DeletedAt
	Notes     []Note
}

// Note belongs to a user.
type Note struct {
	ID     string                  `gorm:"primaryKey;size:36"`
	UserID string                  `gorm:"size:36"`
	Text   vault.Encrypted[string] `gorm:"serializer:vault;type:bytes"`
	User   *User
}

// Device has a key that the database makes, and is bound to its columns.
type Device struct {
	ID    uint
	Token vault.Encrypted[string] `gorm:"serializer:vault;type:bytes" vault:"bind:column"`
	Pin   vault.Encrypted[int]    `gorm:"serializer:vault;type:bytes" vault:"bind:column"`
	Room  string                  `gorm:"size:100"`
}

var users = []any{&User{}, &Note{}}

var serial atomic.Int64

// newUser returns a user of org_a that isn't stored yet.
func newUser(id string) *User {
	return &User{
		ID: id, OrgID: "org_a", Name: "name of " + id,
		Email: vault.Seal(id + "@example.org"), SSN: vault.Seal(fmt.Sprintf("secret-%s-%d", id, serial.Add(1))),
	}
}

// stored creates a user, and returns it as it was read again.
func (e *env) stored(t testing.TB, id string) User {
	t.Helper()
	ok(t, e.db.Create(newUser(id)).Error)
	return e.user(t, id)
}

func (e *env) user(t testing.TB, id string) (u User) {
	t.Helper()
	ok(t, e.db.First(&u, "id = ?", id).Error)
	return u
}

// same wants the columns of a row that the plugin writes to be what they were.
func (e *env) same(t testing.TB, id string, before [3]string) {
	t.Helper()
	if now := e.columns(t, id); now != before {
		t.Fatalf("the row's encrypted columns or its index were changed")
	}
}

func (e *env) columns(t testing.TB, id string) (c [3]string) {
	for i, name := range []string{"email", "email_bidx", "ssn"} {
		c[i] = string(e.column(t, "users", name, id))
	}
	return c
}
