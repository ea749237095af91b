package vaultsqltest

import (
	"fmt"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaulttest/fieldtest"
)

const anyColumn = "an argument of database/sql doesn't say for which column it is"

// Rows that a Model seals, written and read with sqlx over a wrapped driver.
func TestModel(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		fieldtest.Run(t, e.harness(false, map[string]string{fieldtest.GuardPlain: anyColumn}))
	})
}

// Fields as arguments of statements, sealed by the wrapped driver.
func TestArguments(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		fieldtest.Run(t, e.harness(true, map[string]string{
			fieldtest.GuardPlain: anyColumn,
			fieldtest.RowContext: "an argument has the key context of its ctx; the rest of its row isn't known",
		}))
	})
}

func (e engine) harness(arguments bool, absent map[string]string) fieldtest.Harness {
	h := fieldtest.Harness{
		New:    func(t *testing.T, v *vault.Vault) *fieldtest.DB { return newApp(t, e, v, arguments).suite(t) },
		Absent: absent,
	}
	if e.dialect == fieldtest.PostgreSQL {
		h.Placeholder = func(n int) string { return fmt.Sprint("$", n) }
	}
	return h
}
