package vault_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// depsFile lists every package outside the standard library that package vault
// reaches. A change of it is a decision about what users inherit.
const depsFile = "testdata/deps.txt"

// Package vault, and all that it imports, reach no cloud SDK, no SQL driver and
// no ORM.
func TestDependencies(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	got := strings.Fields(string(out))
	slices.Sort(got)
	want, err := os.ReadFile(depsFile)
	if err != nil {
		t.Fatal(err)
	}
	if list := strings.Join(got, "\n") + "\n"; list != string(want) {
		t.Fatalf("package vault reaches\n%s\n%s lists\n%s", list, depsFile, want)
	}
	for _, p := range got {
		if strings.HasPrefix(p, "github.com/embedvault/vault") || p == "github.com/tink-crypto/tink-go/v2/tink" || p == "github.com/sony/gobreaker/v2" {
			continue
		}
		t.Errorf("package vault reaches %s", p)
	}
}

// The root module requires nothing that only a nested module needs.
func TestRootModuleRequires(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{if not .Indirect}}{{.Path}}{{end}}", "all").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for _, forbidden := range []string{"aws-sdk-go", "cloud.google.com", "azure-sdk-for-go", "hashicorp/vault", "pgx", "go-sql-driver", "gorm", "entgo", "etcd/client", "modernc.org/sqlite", "joho/godotenv"} {
		mod, err := os.ReadFile("go.mod")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(mod), forbidden) {
			t.Errorf("go.mod requires %s", forbidden)
		}
	}
	if len(out) == 0 {
		t.Fatal("go list said nothing")
	}
}

// Imports point down only: vault → keyring → {envelope, kek, storage} → keyctx,
// and drivers import their interface's package and keyctx.
func TestImportsPointDown(t *testing.T) {
	const module = "github.com/embedvault/vault"
	allowed := map[string][]string{
		"":                    {"envelope", "kek", "keyctx", "keyring", "storage"},
		"keyctx":              {},
		"envelope":            {"keyctx"},
		"kek":                 {"keyctx"},
		"storage":             {"keyctx"},
		"keyring":             {"envelope", "kek", "keyctx", "storage"},
		"kek/memkek":          {"kek", "keyctx"},
		"kek/tinkkek":         {"kek", "keyctx"},
		"kek/kektest":         {"kek", "keyctx"},
		"storage/memstore":    {"storage", "keyctx"},
		"storage/boltstore":   {"storage", "keyctx"},
		"storage/storagetest": {"storage", "keyctx"},
		"storage/sqlstore":    {"storage", "storage/internal/sqlcore", "keyctx"},

		"storage/internal/sqlcore": {"storage", "keyctx"},
		"vaultsql":                 {""},
		"vaulttest":                {"", "kek/memkek", "storage/memstore"},
		"vaulttest/fieldtest":      {"", "kek/memkek", "vaulttest"},
	}
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}}:{{range .Imports}} {{.}}{{end}}", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := 0
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		pkg, imports, _ := strings.Cut(line, ":")
		rel := strings.TrimPrefix(strings.TrimPrefix(pkg, module), "/")
		may, known := allowed[rel]
		if !known {
			if !strings.HasPrefix(rel, "internal/") {
				t.Errorf("package %q has no rule here", rel)
			}
			continue
		}
		seen++
		for _, imp := range strings.Fields(imports) {
			inner, ours := strings.CutPrefix(imp, module)
			if inner = strings.TrimPrefix(inner, "/"); ours && !slices.Contains(may, inner) {
				t.Errorf("%s imports %s", pkg, imp)
			}
		}
	}
	if seen != len(allowed) {
		t.Errorf("%d of %d packages were seen", seen, len(allowed))
	}
}

// Drivers in modules of their own import their interface's package, keyctx and
// nothing else of ours; what they bring for tests may import them.
func TestDriverModulesImportDown(t *testing.T) {
	const module = "github.com/embedvault/vault/"
	for driver, may := range map[string][]string{
		"kek/awskms":     {"kek", "keyctx"},
		"kek/azurekv":    {"kek", "keyctx"},
		"kek/gcpkms":     {"kek", "keyctx"},
		"kek/hashivault": {"kek", "keyctx"},

		"storage/etcdstore": {"storage", "keyctx"},
	} {
		files := 0
		err := filepath.WalkDir(driver, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files++
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
			if err != nil {
				return err
			}
			for _, imp := range f.Imports {
				ours, ok := strings.CutPrefix(strings.Trim(imp.Path.Value, `"`), module)
				if ok && !slices.Contains(may, ours) && !strings.HasPrefix(ours, driver) {
					t.Errorf("%s imports %s", path, ours)
				}
			}
			return nil
		})
		if err != nil || files == 0 {
			t.Errorf("%s: %d files, %v", driver, files, err)
		}
	}
}
