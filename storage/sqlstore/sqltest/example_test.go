package sqltest

import (
	"context"
	"database/sql"
)

var exampleContext = context.Background()

// exampleDatabase is a database in memory. It is one connection's, and so has
// to be shared by name.
func exampleDatabase() *sql.DB {
	db, err := sql.Open("sqlite", "file:example?mode=memory&cache=shared&_pragma=busy_timeout(5000)")
	if err != nil {
		panic(err) // only for a driver that isn't there
	}
	db.SetMaxIdleConns(5)
	return db
}
