package vault_test

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"io"
	"log"

	"github.com/embedvault/vault"
)

// User is a row of the table users. Its tags are for adapters; database/sql alone
// doesn't need them.
type User struct {
	ID        string
	OrgID     string
	Email     vault.Encrypted[string] `vault:"context:organization_id=OrgID;index:email_bidx,email@1,unique"`
	EmailBidx []byte
}

// userEmail is the blind index of users.email.
var userEmail = vault.Index{Table: "users", Column: "email", Normaliser: "email@1"}

func insertUser(ctx context.Context, db *sql.DB, v *vault.Vault, u User) error {
	org := vault.KeyContext{"organization_id": u.OrgID}
	sealed, err := u.Email.At("users", "email", u.ID).Sealed(vault.WithKeyContext(vault.WithVault(ctx, v), org))
	if err != nil {
		return err
	}
	index, err := v.BlindIndex(ctx, org, userEmail, u.Email)
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, "INSERT INTO users (id, org_id, email, email_bidx) VALUES ($1, $2, $3, $4)", u.ID, u.OrgID, sealed, index)
	return err
}

func userByEmail(ctx context.Context, db *sql.DB, v *vault.Vault, orgID, email string) (User, error) {
	u := User{OrgID: orgID}
	index, err := v.BlindIndexQuery(ctx, vault.KeyContext{"organization_id": orgID}, userEmail, email)
	if err != nil {
		return u, err
	}
	row := db.QueryRowContext(ctx, "SELECT id, email FROM users WHERE org_id = $1 AND email_bidx = $2", orgID, index)
	if err := row.Scan(&u.ID, &u.Email); err != nil {
		return u, err
	}
	u.Email = u.Email.At("users", "email", u.ID)
	return u, nil
}

// A column that is encrypted and searched, with database/sql and no adapter.
func ExampleEncrypted() {
	ctx := context.Background()
	v := exampleVault()
	defer v.Close()
	db := exampleDB()
	defer db.Close()

	u := User{ID: "u_1", OrgID: "org_01", Email: vault.Seal("Ann@example.org")}
	if err := insertUser(ctx, db, v, u); err != nil {
		log.Fatal(err)
	}
	found, err := userByEmail(ctx, db, v, "org_01", " ann@EXAMPLE.org")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(found.ID, found.Email)

	ctx = vault.WithKeyContext(vault.WithVault(ctx, v), vault.KeyContext{"organization_id": "org_01"})
	email, err := found.Email.Open(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(email)

	// Output:
	// u_1 [ENCRYPTED]
	// Ann@example.org
}

// A value in with a request, out with an answer, and through a queue.
func ExampleRequest() {
	v := exampleVault()
	defer v.Close()
	ctx := vault.WithKeyContext(vault.WithVault(context.Background(), v), vault.KeyContext{"organization_id": "org_01"})

	var in struct {
		SSN vault.Request[string] `json:"ssn"`
	}
	if err := json.Unmarshal([]byte(`{"ssn":"123-45-6789"}`), &in); err != nil {
		log.Fatal(err)
	}
	ssn, err := in.SSN.Encrypted().At("users", "ssn", "u_1").Sealed(ctx)
	if err != nil {
		log.Fatal(err)
	}
	logged, err := json.Marshal(ssn)
	if err != nil {
		log.Fatal(err)
	}
	queued, err := json.Marshal(vault.SealedText[string]{Encrypted: ssn})
	if err != nil {
		log.Fatal(err)
	}
	out, err := vault.Reveal(ctx, ssn)
	if err != nil {
		log.Fatal(err)
	}
	answer, err := json.Marshal(out)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n%s…\n%s\n", logged, queued[:6], answer)
	// Output:
	// "[ENCRYPTED]"
	// "vlf1.…
	// "123-45-6789"
}

// A list is opened at once, each key being loaded once.
func ExampleOpenAll() {
	ctx := context.Background()
	v := exampleVault()
	defer v.Close()
	var users []User
	for i, org := range []string{"org_01", "org_02", "org_01"} {
		id, kc := fmt.Sprint("u_", i), vault.KeyContext{"organization_id": org}
		sealed, err := v.SealField(ctx, kc, vault.At("users", "email", id), id+"@example.org")
		if err != nil {
			log.Fatal(err)
		}
		u := User{ID: id, OrgID: org, Email: vault.SealedBytes[string](sealed)} // as a query gives it
		u.Email.BindField(ctx, vault.FieldBinding{Vault: v, Context: kc, Location: vault.At("users", "email", id)})
		users = append(users, u)
	}
	if err := vault.OpenAll(ctx, users); err != nil {
		log.Fatal(err)
	}
	for _, u := range users {
		email, err := u.Email.Open(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(email)
	}
	// Output:
	// u_0@example.org
	// u_1@example.org
	// u_2@example.org
}

// exampleDB stands for a database: it has one table of users, and knows the two
// statements of the examples.
func exampleDB() *sql.DB { return sql.OpenDB(new(usersTable)) }

type usersTable struct {
	rows [][]driver.Value
	out  []driver.Value
}

func (d *usersTable) Connect(context.Context) (driver.Conn, error) { return d, nil }
func (d *usersTable) Driver() driver.Driver                        { return nil }
func (d *usersTable) Prepare(string) (driver.Stmt, error)          { return d, nil }
func (d *usersTable) Begin() (driver.Tx, error)                    { return nil, driver.ErrSkip }
func (d *usersTable) Close() error                                 { return nil }
func (d *usersTable) NumInput() int                                { return -1 }
func (d *usersTable) Columns() []string                            { return []string{"id", "email"} }

func (d *usersTable) Exec(args []driver.Value) (driver.Result, error) {
	d.rows = append(d.rows, args)
	return driver.RowsAffected(1), nil
}

func (d *usersTable) Query(args []driver.Value) (driver.Rows, error) {
	d.out = nil
	for _, r := range d.rows {
		if r[1] == args[0] && bytes.Equal(r[3].([]byte), args[1].([]byte)) {
			d.out = r
		}
	}
	return d, nil
}

func (d *usersTable) Next(dst []driver.Value) error {
	if d.out == nil {
		return io.EOF
	}
	dst[0], dst[1] = d.out[0], d.out[2]
	d.out = nil
	return nil
}
