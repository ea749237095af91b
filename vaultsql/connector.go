package vaultsql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"io"

	"github.com/embedvault/vault"
)

// Wrap returns a connector whose connections seal the fields among the arguments of
// statements, with v and the key context of the statement's ctx. v nil is the vault of
// [vault.WithVault]. All else goes to c, as it would without Wrap. See the package
// comment.
//
// Closing the connector, which closing its *sql.DB does, closes c, if that can be
// closed, and not v.
func Wrap(c driver.Connector, v *vault.Vault) driver.Connector { return &connector{c, v} }

// OpenDB is sql.OpenDB of [Wrap].
func OpenDB(c driver.Connector, v *vault.Vault) *sql.DB { return sql.OpenDB(Wrap(c, v)) }

// Open is sql.Open with the driver's connections wrapped: for drivers that give no
// connector of their own, such as those of SQLite. Like sql.Open it doesn't connect.
func Open(driverName, dataSourceName string, v *vault.Vault) (*sql.DB, error) {
	bare, err := sql.Open(driverName, dataSourceName)
	if err != nil {
		return nil, fmt.Errorf("vaultsql: open with driver %q: %w", driverName, err)
	}
	d := bare.Driver()
	if err := bare.Close(); err != nil { // it was for the driver alone
		return nil, fmt.Errorf("vaultsql: open with driver %q: %w", driverName, err)
	}
	dc, ok := d.(driver.DriverContext)
	if !ok {
		return OpenDB(named{d, dataSourceName}, v), nil
	}
	c, err := dc.OpenConnector(dataSourceName)
	if err != nil {
		return nil, fmt.Errorf("vaultsql: open with driver %q: %w", driverName, err)
	}
	return OpenDB(c, v), nil
}

// Unwrap returns the driver's own connection of what [sql.Conn.Raw] gives: for what
// only the driver can do, such as PostgreSQL's COPY. Nothing that goes through it is
// sealed: a field that is given to it fails with [vault.ErrPending]. What isn't wrapped
// is returned as it is.
func Unwrap(driverConn any) any {
	if c, ok := driverConn.(interface{ inner() driver.Conn }); ok {
		return Unwrap(c.inner())
	}
	return driverConn
}

type connector struct {
	driver.Connector
	v *vault.Vault
}

var _ io.Closer = (*connector)(nil)

func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	inner, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return (&conn{Conn: inner, v: c.v}).outer(), nil
}

// Close closes the inner connector as sql.DB would.
func (c *connector) Close() error {
	if closer, ok := c.Connector.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}

// named is a connector of a driver that has none.
type named struct {
	d    driver.Driver
	name string
}

func (n named) Connect(context.Context) (driver.Conn, error) { return n.d.Open(n.name) }

func (n named) Driver() driver.Driver { return n.d }
