package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/tinkkek"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/boltstore"
	"github.com/embedvault/vault/storage/sqlstore"
	"github.com/embedvault/vault/storage/sqlstore/sqltest/pgserver"
)

// suite is what is tested on every database. Each test gets an empty one: its URL,
// or "" for SQLite.
var suite = map[string]func(t *testing.T, url string){
	"twice":       testTwice,
	"interrupted": testInterrupted,
	"in use":      testInUse,
	"another's":   testAnothers,
	"beside":      testBeside,
	"late write":  testLateWrite,
}

func TestSQLite(t *testing.T) {
	for name, test := range suite {
		t.Run(name, func(t *testing.T) { test(t, "") })
	}
}

func TestPostgreSQL(t *testing.T) {
	server := pgserver.Start(t, pgserver.Options{})
	for name, test := range suite {
		t.Run(name, func(t *testing.T) {
			url, err := server.NewDatabase(t.Context())
			noError(t, err)
			test(t, url)
		})
	}
}

// What is in a vault with few secrets.
const (
	few         = 5
	allKeys     = 3 * 2
	allObjects  = 3 * few
	allVersions = 3 * (few + 1)
)

// testTwice wants the second run to find everything there.
func testTwice(t *testing.T, url string) {
	dir := t.TempDir()
	wantOutput(t, moved(t, dir, url), copied(allKeys, allVersions), "  6 keys and 18 versions looked at")
	wantOutput(t, moved(t, dir, url), copied(0, 0))
	s := open(t, url, dir)
	wantCount(t, s, allKeys, allObjects)
}

// testInterrupted stops the copy after its first page of objects. Those are 256 of
// 300, and with them all three that have two versions.
func testInterrupted(t *testing.T, url string) {
	const versions, first = 3 * (100 + 1), 256 + 3
	cfg := config{t.TempDir(), url, 100}
	ctx, cancel := context.WithCancel(t.Context())
	var out strings.Builder
	err := run(ctx, cfg, writerFunc(func(p []byte) (int, error) {
		if strings.Contains(string(p), fmt.Sprintf("%d versions", first)) {
			cancel()
		}
		return out.Write(p)
	}))
	if !errors.Is(err, context.Canceled) || strings.Contains(out.String(), "verified") {
		t.Fatalf("got %v, %s", err, out.String())
	}
	out.Reset()
	noError(t, run(t.Context(), cfg, &out))
	for _, want := range []string{copied(0, versions-first), fmt.Sprintf("verified: 6 keys, 300 objects, %d versions", versions)} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q isn't in\n%s", want, out.String())
		}
	}
}

// testInUse goes on with the vault where it is now, and moves once more.
func testInUse(t *testing.T, url string) {
	dir := t.TempDir()
	moved(t, dir, url)
	s := open(t, url, dir)
	root, err := tinkkek.Load(filepath.Join(dir, "root-keyset.json"))
	noError(t, err)
	v, err := vault.New(vault.Config{KEK: root, Store: s})
	noError(t, err)
	defer v.Close()
	acme := v.Scope(vault.KeyContext{"organization_id": "acme"})
	meta, err := acme.Put(t.Context(), "api-key/000", []byte("written since"))
	noError(t, err)
	if meta.Number != 3 {
		t.Errorf("it has number %d", meta.Number)
	}
	wantRefused(t, dir, url)
	obj, err := acme.Get(t.Context(), "api-key/000")
	if err != nil || string(obj.Value) != "written since" {
		t.Errorf("got %q, %v", obj.Value, err)
	}
}

// testAnothers wants a database to be refused that holds another vault's secrets, of
// the same organisations.
func testAnothers(t *testing.T, url string) {
	dir := t.TempDir()
	moved(t, dir, url)
	for _, file := range []string{"root-keyset.json", "vault.db"} { // another is made in their place
		noError(t, os.Remove(filepath.Join(dir, file)))
	}
	wantRefused(t, dir, url)
	wantCount(t, open(t, url, dir), allKeys, allObjects)
}

// testBeside wants a database to be refused that holds something which would be in
// nobody's way.
func testBeside(t *testing.T, url string) {
	dir := t.TempDir()
	s := open(t, url, dir)
	root, err := tinkkek.LoadOrCreate(filepath.Join(t.TempDir(), "other-keyset.json"))
	noError(t, err)
	v, err := vault.New(vault.Config{KEK: root, Store: s, Namespace: "another application"})
	noError(t, err)
	defer v.Close()
	_, err = v.Put(t.Context(), vault.KeyContext{"user": "1"}, "token", []byte("secret"))
	noError(t, err)
	wantRefused(t, dir, url)
	wantCount(t, s, 1, 1)
}

// testLateWrite writes to the old store after the copy: the check must notice, and
// the next run must bring it over.
func testLateWrite(t *testing.T, url string) {
	dir := t.TempDir()
	moved(t, dir, url)
	root, err := tinkkek.Load(filepath.Join(dir, "root-keyset.json"))
	noError(t, err)
	old, err := boltstore.Open(filepath.Join(dir, "vault.db"))
	noError(t, err)
	defer old.Close()
	v, err := vault.New(vault.Config{KEK: root, Store: old})
	noError(t, err)
	defer v.Close()
	_, err = v.Put(t.Context(), vault.KeyContext{"organization_id": "globex"}, "api-key/007", []byte("late"))
	noError(t, err)
	s := open(t, url, dir)
	if err := check(t.Context(), root, old, s, io.Discard); !errors.Is(err, vault.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	var out strings.Builder
	noError(t, move(t.Context(), s, old, &out))
	if !strings.Contains(out.String(), copied(0, 1)) {
		t.Error(out.String())
	}
	noError(t, check(t.Context(), root, old, s, io.Discard))
}

// TestFolders wants the program to work without a folder, but not to leave data in
// a database whose root key it removes.
func TestFolders(t *testing.T) {
	wantOutput(t, moved(t, "", ""), copied(allKeys, allVersions))
	if err := run(t.Context(), config{databaseURL: "postgres://127.0.0.1:1/none"}, io.Discard); err == nil || !strings.Contains(err.Error(), "-dir") {
		t.Errorf("got %v", err)
	}
}

// moved runs the program and returns what it printed.
func moved(t *testing.T, dir, url string) string {
	t.Helper()
	var out strings.Builder
	if err := run(t.Context(), config{dir, url, few}, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	return out.String()
}

func wantRefused(t *testing.T, dir, url string) {
	t.Helper()
	if err := run(t.Context(), config{dir, url, few}, io.Discard); !errors.Is(err, errNotOurs) {
		t.Errorf("got %v", err)
	}
}

func copied(keys, versions int) string {
	return fmt.Sprintf("copied: %d keys, %d versions, ", keys, versions)
}

func wantOutput(t *testing.T, text string, want ...string) {
	t.Helper()
	want = append(want, fmt.Sprintf("verified: %d keys, %d objects, %d versions\n", allKeys, allObjects, allVersions), fmt.Sprintf("%d secrets with all their versions, the same", allObjects))
	for _, line := range want {
		if !strings.Contains(text, line) {
			t.Errorf("%q isn't in\n%s", line, text)
		}
	}
}

// open opens the destination.
func open(t *testing.T, url, dir string) *sqlstore.Store {
	t.Helper()
	db, dialect, err := openDatabase(url, dir)
	noError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	s, err := openStore(t.Context(), db, dialect)
	noError(t, err)
	return s
}

// wantCount counts what is in a store.
func wantCount(t *testing.T, s storage.Store, keys, objects int) {
	t.Helper()
	all := storage.ContextFilter{All: true, AnyNamespace: true}
	k, err := s.ListKeys(t.Context(), storage.KeyQuery{Contexts: all, Limit: 1000})
	noError(t, err)
	o, err := s.ListObjects(t.Context(), storage.ObjectQuery{Contexts: all, Limit: 1000})
	noError(t, err)
	if len(k.Keys) != keys || len(o.Objects) != objects {
		t.Errorf("it holds %d keys and %d objects, want %d and %d", len(k.Keys), len(o.Objects), keys, objects)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
