//go:build cgo

package sqltest

import (
	_ "github.com/mattn/go-sqlite3"

	"github.com/embedvault/vault/storage/sqlstore"
)

func init() {
	engines = append(engines, engine{"sqlite-mattn", "sqlite3", sqlstore.SQLite, sqliteFile, "?_journal_mode=WAL&_busy_timeout=5000&_synchronous=OFF"})
}
