//go:build cgo

package vaultsqltest

import (
	"database/sql/driver"
	"testing"

	"github.com/mattn/go-sqlite3"

	"github.com/embedvault/vault/vaulttest/fieldtest"
)

func init() {
	engines = append(engines, engine{"sqlite-mattn", "sqlite3", fieldtest.SQLite, func(t testing.TB) driver.Connector {
		return opener{&sqlite3.SQLiteDriver{}, sqliteFile(t) + "?_journal_mode=WAL&_busy_timeout=60000&_synchronous=OFF&_txlock=immediate"}
	}})
}
