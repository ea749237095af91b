package main

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/embedvault/vault/storage/sqlstore"
)

// openSQLite opens a file. What follows a # says which tables.
func openSQLite(path string, acc access) (*openedStore, error) {
	path, fragment, _ := strings.Cut(path, "#")
	if err := mustExist(path, acc); err != nil {
		return nil, err
	}
	params := url.Values{"_pragma": {"busy_timeout(5000)"}}
	if acc == reading {
		params.Add("_pragma", "query_only(1)")
	} else {
		params.Add("_pragma", "journal_mode(WAL)")
	}
	dsn := &url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: params.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	return openSQL(db, sqlstore.SQLite, fragment, "sqlite:"+path)
}

func openPostgres(u *url.URL) (*openedStore, error) {
	fragment, name := u.Fragment, printable(u)
	bare := *u
	bare.Fragment, bare.RawFragment = "", ""
	cfg, err := pgx.ParseConfig(bare.String())
	if err != nil {
		// Its text repeats the URL, with what it takes for the password left out.
		return nil, usage("the store's URL has a setting that PostgreSQL's driver doesn't take (host, port, sslmode and its files, timeouts)")
	}
	return openSQL(stdlib.OpenDB(*cfg), sqlstore.PostgreSQL, fragment, name)
}

// openMySQL makes the driver's own configuration of a URL. Its query is that of a
// DSN.
func openMySQL(u *url.URL) (*openedStore, error) {
	cfg, err := mysql.ParseDSN("/?" + u.RawQuery)
	if err != nil {
		return nil, usage("the store's URL has a parameter that MySQL's driver doesn't take")
	}
	cfg.User = u.User.Username()
	cfg.Passwd, _ = u.User.Password()
	cfg.Net, cfg.Addr = "tcp", u.Host
	if u.Port() == "" {
		cfg.Addr += ":3306"
	}
	cfg.DBName = strings.TrimPrefix(u.Path, "/")
	cfg.InterpolateParams = true // one round trip for each statement
	cfg.Logger = &mysql.NopLogger{}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, usage("the store's URL has a parameter that MySQL's driver doesn't take")
	}
	return openSQL(sql.OpenDB(connector), sqlstore.MySQL, u.Fragment, printable(u))
}

func openSQL(db *sql.DB, d sqlstore.Dialect, fragment, name string) (*openedStore, error) {
	o, err := tableOptions(fragment)
	if err == nil {
		var s *sqlstore.Store
		if s, err = sqlstore.New(db, d, o); err == nil {
			return &openedStore{Store: s, name: name, close: db.Close}, nil
		}
	}
	return nil, errors.Join(usageError{err}, db.Close())
}

// tableOptions reads what follows the # of a store's URL.
func tableOptions(fragment string) (o sqlstore.Options, err error) {
	values, err := url.ParseQuery(fragment)
	if err != nil {
		return o, errors.New("what follows the # of the store's URL can't be read: want table-prefix=NAME&schema=NAME")
	}
	for key := range values {
		switch key {
		case "table-prefix":
			o.TablePrefix = values.Get(key)
		case "schema":
			o.Schema = values.Get(key)
		default:
			return o, fmt.Errorf("the store's URL has %.40q behind its #: want table-prefix or schema", key)
		}
	}
	return o, nil
}
