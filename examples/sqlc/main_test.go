package main

import (
	"bytes"
	"context"
	"database/sql"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/storage/sqlstore/sqltest/pgserver"
	"github.com/embedvault/vault/vaulttest"
)

const want = `three users are there, and the database has none of their addresses
found by the address: Ann, who writes it Ann@Example.org; printed it is [ENCRYPTED]
a page of users, of which nothing was decrypted:
  acme   Ann  [ENCRYPTED]
  acme   Bob  [ENCRYPTED]
  globex Cyd  [ENCRYPTED]
acme has a new key, and 2 rows are under it; the index is as it was
globex is cut off, and its rows still load:
  acme   Ann  Ann@Example.org
  acme   Bob  bob@example.org
  globex Cyd  (cut off)
`

// TestRun runs the program.
func TestRun(t *testing.T) {
	url := database(t)
	var out bytes.Buffer
	noError(t, run(t.Context(), url, filepath.Join(t.TempDir(), "root.json"), &out))
	if out.String() != want {
		t.Errorf("it says\n%s\nwant\n%s", out.String(), want)
	}
	raw, err := sql.Open("pgx", url)
	noError(t, err)
	defer func() { _ = raw.Close() }()
	vaulttest.AssertSealed(t, raw, "users", "email", "Ann@Example.org", "bob@example.org", "@example.org")
	vaulttest.AssertSealed(t, raw, "users", "ssn", "078-05-1120")
	if err := run(t.Context(), "", "", io.Discard); err == nil {
		t.Error("it runs without a database")
	}
}

// TestUsers does what the program doesn't show.
func TestUsers(t *testing.T) {
	pool, err := pgxpool.New(t.Context(), database(t))
	noError(t, err)
	defer pool.Close()
	_, err = pool.Exec(t.Context(), schema)
	noError(t, err)
	v := vaulttest.New(t)
	a, err := newApp(v.Vault, pool)
	noError(t, err)
	ctx := context.WithoutCancel(t.Context())
	id, err := a.create(ctx, newUser{"acme", "Ann", "ann@example.org", "078-05-1120"})
	noError(t, err)
	if _, err := a.create(ctx, newUser{"acme", "Ann again", "ANN@example.org", ""}); err == nil {
		t.Error("an address is there twice")
	}
	noError(t, a.setEmail(ctx, "acme", id, "ann@example.net"))
	if _, err := a.byEmail(ctx, "acme", "ann@example.org"); err == nil {
		t.Error("she is found by her old address")
	}
	before := v.Decryptions()
	users, err := a.page(ctx, "", 10)
	noError(t, err)
	if len(users) != 1 || v.Decryptions() != before {
		t.Errorf("%d users, %d decryptions", len(users), v.Decryptions()-before)
	}
	n, err := a.rotate(ctx, "acme")
	noError(t, err)
	ann, err := a.byEmail(ctx, "acme", "ann@example.net")
	noError(t, err)
	data, err := ann.Ssn.Value()
	noError(t, err)
	old, err := v.NeedsReencrypt(ctx, tenant("acme"), data.([]byte))
	noError(t, err)
	if n != 1 || old {
		t.Errorf("%d rows moved to the new key; still to be moved: %v", n, old)
	}
	noError(t, vault.OpenAll(ctx, &ann))
	_, err = v.Shred(ctx, tenant("acme"), vault.ShredOptions{})
	noError(t, err)
	users, err = a.page(ctx, "", 10)
	noError(t, err)
	_, err = users[0].Email.Open(ctx)
	if reason(err) != "(destroyed)" || reason(io.EOF) != "(can't be read)" {
		t.Errorf("a destroyed key: %v", err)
	}
}

// TestGenerated runs sqlc, which mustn't write anything else than what is here. It is
// built without cgo, which takes half a minute the first time.
func TestGenerated(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "tool", "-modfile=tools.mod", "sqlc", "diff")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("sqlc would write something else; run go generate: %v\n%s", err, out)
	}
}

// TestGuide holds the guide to the program: each line of Go, YAML and SQL in its section
// about sqlc is in these files, in its place within a block.
func TestGuide(t *testing.T) {
	text, err := os.ReadFile("../../docs/FIELDS.md")
	noError(t, err)
	_, section, ok := strings.Cut(string(text), "\n## pgx and sqlc\n")
	if !ok {
		t.Fatal("docs/FIELDS.md has no section about pgx and sqlc")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := strings.Split(section, "```")
	if len(blocks) < 10 {
		t.Fatalf("the section has %d blocks", len(blocks)/2)
	}
	files := map[string][]string{}
	for language, names := range map[string][]string{"go": {"users.go", "db/models.go"}, "yaml": {"sqlc.yaml"}, "sql": {"sql/schema.sql", "sql/query.sql"}} {
		for _, name := range names {
			b, err := os.ReadFile(name)
			noError(t, err)
			files[language] = append(files[language], lines(string(b))...)
		}
	}
	for i := 1; i < len(blocks); i += 2 {
		language, body, _ := strings.Cut(blocks[i], "\n")
		if language == "sh" {
			continue
		}
		in, at := files[language], 0
		for _, want := range lines(body) {
			for at < len(in) && in[at] != want {
				at++
			}
			if at == len(in) {
				t.Errorf("the program doesn't have, in its place, the guide's line\n%s", want)
				break
			}
		}
	}
}

// lines are the lines of a text that hold something, without space and comment.
func lines(text string) (out []string) {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, " //")
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "//") {
			out = append(out, line)
		}
	}
	return out
}

// database makes an empty database.
func database(t *testing.T) string {
	t.Helper()
	url, err := pgserver.Start(t, pgserver.Options{}).NewDatabase(t.Context())
	noError(t, err)
	return url
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
