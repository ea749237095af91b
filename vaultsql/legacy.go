package vaultsql

import "database/sql/driver"

// What database/sql still takes from drivers that know no ctx. The interfaces of
// package driver with these methods are deprecated for whoever writes a driver; a layer
// over any driver needs them.
type (
	legacyExecer interface {
		Exec(query string, args []driver.Value) (driver.Result, error)
	}
	legacyQueryer interface {
		Query(query string, args []driver.Value) (driver.Rows, error)
	}
	legacyBeginner interface {
		Begin() (driver.Tx, error)
	}
	legacyStmt interface {
		Exec(args []driver.Value) (driver.Result, error)
		Query(args []driver.Value) (driver.Rows, error)
	}
	columnConverter interface {
		ColumnConverter(i int) driver.ValueConverter
	}
)
