package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"

	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/boltstore"
)

// access says what a command does to a store.
type access int

const (
	reading access = iota
	writing
	making // writing, and a file that isn't there is made
)

// migrator is what SQL stores have besides.
type migrator interface {
	Migrate(ctx context.Context) error
	Schema() string
}

// openedStore is a store that a command has opened.
type openedStore struct {
	storage.Store
	name  string // to print: the URL without secrets
	close func() error
}

// openStore opens the store that a URL names. No error has the URL in it but as
// what can be printed.
func (a *app) openStore(rawURL string, acc access) (*openedStore, error) {
	scheme, rest, ok := strings.Cut(rawURL, ":")
	if !ok || rest == "" {
		return nil, usage("the store's URL is not bolt:PATH, sqlite:PATH, postgres://… or mysql://…")
	}
	switch scheme {
	case "bolt":
		return openBolt(rest, acc)
	case "sqlite":
		return openSQLite(rest, acc)
	case "postgres", "postgresql", "mysql":
		u, err := a.parseServerURL(rawURL)
		if err != nil {
			return nil, err
		}
		if scheme == "mysql" {
			return openMySQL(u)
		}
		return openPostgres(u)
	}
	return nil, usage("the store's URL has an unknown scheme: want bolt:, sqlite:, postgres:// or mysql://")
}

// mainStore opens the store of --store.
func (a *app) mainStore(acc access) (*openedStore, error) {
	u := a.either(a.flags.store, "VAULTCTL_STORE")
	if u == "" {
		return nil, usage("say which store: --store, or VAULTCTL_STORE")
	}
	return a.openStore(u, acc)
}

// parseServerURL parses a URL and remembers its secrets, so that nothing prints them.
// The error of url.Parse would repeat them.
func (a *app) parseServerURL(rawURL string) (*url.URL, error) {
	a.hide(rawURL)
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" && u.Query().Get("host") == "" {
		return nil, usage("the store's URL can't be read: want SCHEME://USER:PASSWORD@HOST:PORT/DATABASE, with what is special in a password as %%XX")
	}
	if password, ok := u.User.Password(); ok {
		a.hide(u.User.String() + "@")
		a.hidePassword(password)
	}
	for key, values := range u.Query() {
		if strings.Contains(strings.ToLower(key), "password") {
			for _, v := range values {
				a.hidePassword(v)
			}
		}
	}
	return u, nil
}

// printable returns a URL without what may be secret: password and parameters.
func printable(u *url.URL) string {
	return u.Scheme + "://" + u.Host + u.Path
}

func openBolt(path string, acc access) (*openedStore, error) {
	if err := mustExist(path, acc); err != nil {
		return nil, err
	}
	s, err := boltstore.Open(path, boltstore.Options{ReadOnly: acc == reading})
	if err != nil {
		if errors.Is(err, boltstore.ErrLocked) {
			return nil, fmt.Errorf("open the store: %w: one process at a time may have it open; stop the application, or work on a backup", err)
		}
		return nil, fmt.Errorf("open the store: %w", err)
	}
	return &openedStore{Store: s, name: "bolt:" + path, close: s.Close}, nil
}

// mustExist refuses a file that isn't there: of a path with a slip in it an empty
// store would be made, in which everything is in order.
func mustExist(path string, acc access) error {
	if acc == making {
		return nil
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open the store: there is no file %s", path)
	} else if err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	return nil
}
