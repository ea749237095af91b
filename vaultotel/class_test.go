package vaultotel

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/embedvault/vault"
)

// Every sentinel of package vault has a class, once, by the name of the variable.
func TestEverySentinelHasAClass(t *testing.T) {
	own, err := parser.ParseFile(token.NewFileSet(), "class.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	known := make(map[string]string) // variable → class
	ast.Inspect(own, func(n ast.Node) bool {
		lit, ok := n.(*ast.CompositeLit)
		if !ok || len(lit.Elts) != 2 {
			return true
		}
		sel, ok := lit.Elts[0].(*ast.SelectorExpr)
		if ok && sel.X.(*ast.Ident).Name == "vault" {
			known[sel.Sel.Name] = sentinelName(lit.Elts[1])
		}
		return true
	})
	found := 0
	for _, name := range rootSentinels(t) {
		found++
		if want := snake(strings.TrimPrefix(name, "Err")); known[name] != want {
			t.Errorf("vault.%s has the class %q, want %q", name, known[name], want)
		}
	}
	if found < 25 || found != len(known) {
		t.Errorf("%d sentinels were found, %d have a class", found, len(known))
	}
	seen := make(map[string]bool)
	for _, c := range classes {
		if seen[c.name] {
			t.Errorf("%s is the class of two", c.name)
		}
		seen[c.name] = true
		if got := class(fmt.Errorf("get: %w", c.err)); got != c.name {
			t.Errorf("%s has the class %s", c.name, got)
		}
	}
}

func sentinelName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		return strings.Trim(e.Value, `"`)
	case *ast.Ident:
		return map[string]string{"kekUnavailable": kekUnavailable, "storeUnavailable": storeUnavailable}[e.Name]
	}
	return ""
}

// rootSentinels are the exported errors that package vault declares.
func rootSentinels(t *testing.T) (names []string) {
	t.Helper()
	files, err := filepath.Glob("../*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			gen, ok := d.(*ast.GenDecl)
			if !ok || gen.Tok != token.VAR {
				continue
			}
			for _, s := range gen.Specs {
				for _, id := range s.(*ast.ValueSpec).Names {
					if strings.HasPrefix(id.Name, "Err") {
						names = append(names, id.Name)
					}
				}
			}
		}
	}
	return names
}

// snake is a name in snake case; KEK is one word.
func snake(name string) string {
	name = strings.ReplaceAll(name, "KEK", "Kek")
	var b strings.Builder
	for i, r := range name {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteString(strings.ToLower(string(r)))
	}
	return b.String()
}

// Of an error that matches several the most telling counts. A caller who left says
// nothing of whether the KMS or the store can be reached.
func TestClassOfSeveral(t *testing.T) {
	for want, err := range map[string]error{
		"wrong_context":     errors.Join(vault.ErrKEKCorrupt, vault.ErrWrongContext),
		"kek_denied":        errors.Join(vault.ErrKEKUnavailable, vault.ErrKEKDenied, context.Canceled),
		"kek_unavailable":   fmt.Errorf("%w: %w", vault.ErrKEKUnavailable, context.DeadlineExceeded),
		"canceled":          fmt.Errorf("%w: %w", vault.ErrKEKUnavailable, context.Canceled),
		"store_unavailable": vault.ErrStoreUnavailable,
		"deadline_exceeded": context.DeadlineExceeded,
		"decrypt":           errors.Join(vault.ErrDecrypt, vault.ErrEvent),
		"no_store":          errors.Join(vault.ErrKeyNotFound, vault.ErrNoStore),
		"closed":            errors.Join(vault.ErrKEKUnavailable, vault.ErrClosed, context.Canceled),
		"_OTHER":            errors.New("x"),
		"":                  nil,
	} {
		if got := class(err); got != want {
			t.Errorf("%v has the class %q, want %q", err, got, want)
		}
	}
	if got := class(fmt.Errorf("%w: %w", vault.ErrStoreUnavailable, context.Canceled)); got != "canceled" {
		t.Errorf("a store's call whose caller left has the class %q", got)
	}
}
