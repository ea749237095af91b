package vaultsql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaulttest"
)

var (
	orgA = vault.KeyContext{"organization_id": "org_a"}
	orgB = vault.KeyContext{"organization_id": "org_b"}
)

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func is(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("got %v, want %v", err, target)
	}
}

func open(t testing.TB, c driver.Connector) *sql.DB {
	t.Helper()
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// use does with a database what can be done, and says how it went.
func use(ctx context.Context, db *sql.DB) (out []string) {
	say := func(what string, err error) {
		text := "ok"
		if err != nil {
			text = err.Error()
		}
		out = append(out, what+": "+text)
	}
	args := map[string][]any{
		"none": nil, "plain": {1, "two", []byte{3}, nil}, "named": {sql.Named("n", 1)},
		"option": {option{}, 2}, "odd": {odd{7}, "x"}, "refused": {true}, "channel": {make(chan int)},
	}
	say("ping", db.PingContext(ctx))
	for _, name := range []string{"none", "plain", "named", "option", "odd", "refused", "channel"} {
		_, err := db.ExecContext(ctx, "INSERT "+name, args[name]...)
		say("exec "+name, err)
		rows, err := db.QueryContext(ctx, "SELECT "+name, args[name]...)
		say("query "+name, err)
		if err == nil {
			types, err := rows.ColumnTypes()
			say(fmt.Sprint("types ", types[0].DatabaseTypeName(), rows.NextResultSet()), err)
			_ = rows.Close()
		}
		s, err := db.PrepareContext(ctx, "PREPARED "+name)
		say("prepare", err)
		_, err = s.ExecContext(ctx, args[name]...)
		say("stmt exec "+name, err)
		r2, err := s.QueryContext(ctx, args[name]...)
		say("stmt query "+name, err)
		if err == nil {
			_ = r2.Close()
		}
		_ = s.Close()
	}
	for _, o := range []*sql.TxOptions{nil, {Isolation: sql.LevelSerializable}, {ReadOnly: true}} {
		tx, err := db.BeginTx(ctx, o)
		say("begin", err)
		if err == nil {
			say("commit", tx.Commit())
		}
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err := db.ExecContext(ended, "INSERT late")
	say("ended", err)
	return out
}

// A driver is asked and answers the same with and without the wrapper, whatever it can
// do.
func TestPassesEverythingOn(t *testing.T) {
	bare := scripts()
	for name, wrapped := range scripts() {
		t.Run(name, func(t *testing.T) {
			want := use(t.Context(), open(t, bare[name]))
			got := use(t.Context(), open(t, Wrap(wrapped, vaulttest.New(t).Vault)))
			if !reflect.DeepEqual(got, want) {
				t.Errorf("the application sees\n%s\nwithout the wrapper\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if got, want := wrapped.trace(), bare[name].trace(); !reflect.DeepEqual(got, want) {
				t.Errorf("the driver sees\n%s\nwithout the wrapper\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if wrapped.opened != bare[name].opened {
				t.Errorf("%d connections, without the wrapper %d", wrapped.opened, bare[name].opened)
			}
		})
	}
}

// opensAs wants an argument that reached the driver to be the sealed value.
func opensAs(t testing.TB, ctx context.Context, v *vault.Vault, arg any, id, want string) {
	t.Helper()
	var data []byte
	switch arg := arg.(type) {
	case []byte:
		data = arg
	case string: // of the driver that converts
		data = []byte(arg)
	}
	got, err := vault.SealedBytes[string](data).At("users", "note", id).Open(vault.WithVault(ctx, v))
	if err != nil || got != want {
		t.Fatalf("a %T of %d bytes reached the driver: %v", arg, len(data), err)
	}
}

// Fields are sealed once, in every way in which a statement can reach a driver.
func TestSeals(t *testing.T) {
	for name, s := range scripts() {
		t.Run(name, func(t *testing.T) {
			v := vaulttest.New(t)
			db := open(t, Wrap(s, v.Vault))
			ctx := vault.WithKeyContext(t.Context(), orgA)
			note := vault.Seal("the note").At("users", "note", "u1")
			pointer := &note
			var none *vault.Encrypted[string]
			runs := 0
			run := func(args ...any) {
				t.Helper()
				s.args = nil
				runs++
				_, err := db.ExecContext(ctx, "INSERT INTO users", args...)
				noError(t, err)
			}
			for _, form := range []any{note, &note, &pointer} {
				run("u1", form, vault.Null[string](), none)
				opensAs(t, ctx, v.Vault, s.args[1], "u1", "the note")
				if s.args[2] != nil || s.args[3] != nil {
					t.Fatalf("NULL reached the driver as %T and %T", s.args[2], s.args[3])
				}
			}
			stmt, err := db.PrepareContext(ctx, "UPDATE users")
			noError(t, err)
			for _, kc := range []vault.KeyContext{orgA, orgB} { // the ctx of each run
				s.args = nil
				runs++
				of := vault.WithKeyContext(t.Context(), kc)
				_, err = stmt.ExecContext(of, note)
				noError(t, err)
				opensAs(t, of, v.Vault, s.args[0], "u1", "the note")
			}
			s.args = nil
			runs++
			rows, err := db.QueryContext(ctx, "INSERT INTO users RETURNING id", note)
			noError(t, err)
			noError(t, rows.Close())
			opensAs(t, ctx, v.Vault, s.args[0], "u1", "the note")
			if n := len(v.Events(vault.FieldEncrypted)); n != runs {
				t.Fatalf("%d fields were written, and %d sealed", runs, n)
			}
			if note.FieldState() != vault.FieldPending {
				t.Fatal("the caller's field was changed")
			}
		})
	}
}

// What can't be sealed reaches no driver, and the error says which argument it was.
func TestRefuses(t *testing.T) {
	for name, s := range scripts() {
		t.Run(name, func(t *testing.T) {
			v := vaulttest.New(t)
			db := open(t, Wrap(s, v.Vault))
			ctx := vault.WithKeyContext(t.Context(), orgA)
			placed := vault.Seal("the note").At("users", "note", "u1")
			for what, c := range map[string]struct {
				ctx   context.Context
				query string
				arg   any
				want  error
			}{
				"no location":    {ctx, "INSERT", vault.Seal("the note"), vault.ErrNoLocation},
				"no context":     {t.Context(), "INSERT", placed, vault.ErrNoContext},
				"bad location":   {ctx, "INSERT", placed.At("users", "note", ""), vault.ErrInvalidLocation},
				"select":         {ctx, "SELECT 1 WHERE note = ?", placed, ErrSearch},
				"delete":         {ctx, "/* all */ delete from users where note = ?", placed, ErrSearch},
				"another's":      {ctx, "INSERT", vault.SealedBytes[string]([]byte("x")).At("users", "note", "u1"), vault.ErrMalformed},
				"not registered": {ctx, "INSERT", vault.Seal(make(chan int)).At("users", "note", "u1"), vault.ErrUnsupportedType},
			} {
				before := len(s.args)
				_, err := db.ExecContext(c.ctx, c.query, 1, c.arg)
				is(t, err, c.want)
				if !strings.Contains(err.Error(), "argument 2") || strings.Contains(err.Error(), "the note") {
					t.Errorf("%s: %v", what, err)
				}
				rows, err := db.QueryContext(c.ctx, c.query, 1, c.arg)
				if is(t, err, c.want); rows != nil {
					_ = rows.Close()
				}
				if len(s.args) != before {
					t.Errorf("%s: the driver was asked", what)
				}
			}
		})
	}
}

// A named argument is called by its name.
func TestNamedArgument(t *testing.T) {
	s := scripts()["everything"]
	db := open(t, Wrap(s, vaulttest.New(t).Vault))
	_, err := db.ExecContext(t.Context(), "INSERT", sql.Named("note", vault.Seal("x")))
	is(t, err, vault.ErrNoLocation)
	if !strings.Contains(err.Error(), `argument "note"`) {
		t.Error(err)
	}
}

// A sealed field is a condition like any other: it is equal to its own bytes.
func TestSealedFieldInSelect(t *testing.T) {
	v, s := vaulttest.New(t), scripts()["everything"]
	ctx := vault.WithVault(vault.WithKeyContext(t.Context(), orgA), v.Vault)
	sealed, err := vault.Seal("x").At("users", "note", "u1").Sealed(ctx)
	noError(t, err)
	rows, err := open(t, Wrap(s, nil)).QueryContext(ctx, "SELECT id FROM users WHERE note = ?", sealed)
	noError(t, err)
	noError(t, rows.Close())
	want, _ := sealed.Value()
	if !reflect.DeepEqual(s.args[0], want) {
		t.Error("its bytes were changed")
	}
}

// The vault's own store has lost its connection: database/sql must not take that for
// its own, throw away a connection that is whole, and try again.
func TestVaultsBadConn(t *testing.T) {
	lost := fmt.Errorf("the vault's store: %w", driver.ErrBadConn)
	v := vaulttest.New(t, func(c *vault.Config) { c.OnEvent = failing(lost); c.FailClosed = true })
	s := scripts()["everything"]
	db := open(t, Wrap(s, v.Vault))
	ctx := vault.WithKeyContext(t.Context(), orgA)
	_, err := db.ExecContext(ctx, "INSERT", vault.Seal("x").At("users", "note", "u1"))
	is(t, err, vault.ErrEvent)
	if errors.Is(err, driver.ErrBadConn) {
		t.Error("the error matches driver.ErrBadConn")
	}
	var as *sealError
	if !errors.As(err, &as) {
		t.Errorf("%T", err)
	}
	noError(t, db.PingContext(t.Context()))
	if s.opened != 1 {
		t.Errorf("%d connections were made", s.opened)
	}
}

func failing(err error) func(context.Context, vault.Event) error {
	return func(_ context.Context, e vault.Event) error {
		if e.Name == vault.FieldEncrypted {
			return err
		}
		return nil
	}
}

// What was sealed for a statement that was skipped serves that statement, that field
// and that key context, once.
func TestSealedOnce(t *testing.T) {
	a := vault.Seal("a").At("users", "note", "u1")
	ctx := vault.WithKeyContext(t.Context(), orgA)
	once := func() *sealedOnce {
		c := &conn{}
		args := []driver.NamedValue{{Ordinal: 1, Value: a}, {Ordinal: 2, Value: []byte("plain")}}
		c.remember(ctx, "Q", args, []driver.NamedValue{{Value: []byte("sealed")}, args[1]}, driver.ErrSkip)
		return c.skipped
	}
	o := once()
	if got, ok := o.take(ctx, a); !ok || string(got) != "sealed" {
		t.Error("it is not found")
	}
	if _, ok := o.take(ctx, a); ok {
		t.Error("it serves twice")
	}
	for what, miss := range map[string]func() (field, context.Context){
		"another value":   func() (field, context.Context) { return vault.Seal("a").At("users", "note", "u1"), ctx },
		"another place":   func() (field, context.Context) { return a.At("users", "note", "u2"), ctx },
		"another context": func() (field, context.Context) { return a, vault.WithKeyContext(ctx, orgB) },
		"no context":      func() (field, context.Context) { return a, t.Context() },
	} {
		if f, c := miss(); true {
			if _, ok := once().take(c, f); ok {
				t.Errorf("%s: it is found", what)
			}
		}
	}
	c := &conn{Conn: &fakeConn{&script{}}, skipped: once()}
	s, err := c.PrepareContext(ctx, "another query")
	noError(t, err)
	if s.(*stmt).once != nil || c.skipped != nil {
		t.Error("it is kept for another statement")
	}
}

func TestFirstWord(t *testing.T) {
	for query, want := range map[string]string{
		"": "", "SELECT 1": "SELECT", " \n\t(select 1)": "select", "-- why\nDELETE FROM x": "DELETE", "# why\n delete": "delete",
		"/* a */ /* b */SELECT": "SELECT", "/* open SELECT": "", "-- SELECT": "", "INSERT INTO x SELECT": "INSERT",
		"WITH a AS (SELECT 1) UPDATE": "WITH", ";SELECT": "SELECT", "SELECTED": "SELECTED", "1SELECT": "",
	} {
		if got := firstWord(query); got != want {
			t.Errorf("%q: %q, want %q", query, got, want)
		}
	}
}

// legacyDriver gives no connector.
type legacyDriver struct{ s *script }

func (d legacyDriver) Open(name string) (driver.Conn, error) {
	d.s.note("open %s", name)
	return d.s.Connect(context.Background())
}

// contextDriver gives one.
type contextDriver struct{ legacyDriver }

var errDSN = errors.New("fake: bad data source name")

func (d contextDriver) OpenConnector(name string) (driver.Connector, error) {
	if name == "bad" {
		return nil, errDSN
	}
	return d.s, nil
}

var openScripts = [2]*script{{}, {}}

func init() {
	sql.Register("vaultsql-legacy", legacyDriver{openScripts[0]})
	sql.Register("vaultsql-context", contextDriver{legacyDriver{openScripts[1]}})
}

func TestOpen(t *testing.T) {
	v := vaulttest.New(t)
	ctx := vault.WithKeyContext(t.Context(), orgA)
	for i, name := range []string{"vaultsql-legacy", "vaultsql-context"} {
		db, err := Open(name, "dsn", v.Vault)
		noError(t, err)
		_, err = db.ExecContext(ctx, "INSERT", vault.Seal("n").At("users", "note", "u1"))
		noError(t, err)
		noError(t, db.Close())
		opensAs(t, ctx, v.Vault, openScripts[i].args[0], "u1", "n")
	}
	if !openScripts[1].closed {
		t.Error("the connector wasn't closed with its database")
	}
	_, err := Open("vaultsql-context", "bad", v.Vault)
	is(t, err, errDSN)
	if _, err := Open("vaultsql-nobody", "", v.Vault); err == nil {
		t.Error("a driver that isn't registered was opened")
	}
}

// What only the driver can do is reached, and nothing is sealed on the way.
func TestUnwrap(t *testing.T) {
	s := scripts()["everything"]
	v := vaulttest.New(t).Vault
	db := open(t, Wrap(Wrap(s, v), v))
	if db.Driver() != driver.Driver(s) {
		t.Errorf("the driver is a %T", db.Driver())
	}
	c, err := db.Conn(t.Context())
	noError(t, err)
	noError(t, c.Raw(func(dc any) error {
		if _, ok := Unwrap(dc).(fullConn); !ok {
			t.Errorf("unwrapped it is a %T", Unwrap(dc))
		}
		if Unwrap(7) != 7 {
			t.Error("what isn't wrapped was changed")
		}
		return nil
	}))
	noError(t, c.Close())
}
