// Slim cuts the test files of a package, in place, down to what one test needs: most
// of the time that a mutant takes is that of compiling the other tests.
//
//	slim DIR TestName
//
// It goes by names alone, and so keeps too much rather than too little. Where that
// isn't enough the result doesn't compile. A test that looks at the sources of its own
// package is left with all of them.
package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// decl is a declaration at a file's top, with the names that it mentions.
type decl struct {
	start, end int // in the file's text
	mentions   map[string]bool
	kept       bool
}

// file is a test file.
type file struct {
	path    string
	text    []byte
	syntax  *ast.File
	decls   []*decl
	imports map[string]string // by the name that is probably theirs
}

// names are the declarations by name, a type's methods being part of the type.
type names map[string][]*decl

// looksAtSources are what a test needs to look at the package's files.
var looksAtSources = regexp.MustCompile(`go/parser|ReadDir\("\."\)|Glob\("[^"/]*_test\.go|_test\.go"|"list"`)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "slim:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: slim DIR TestName")
	}
	paths, err := filepath.Glob(filepath.Join(args[0], "*_test.go"))
	if err != nil {
		return err
	}
	var files []*file
	set := token.NewFileSet()
	for _, p := range paths {
		f, err := read(set, p)
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	all := index(set, files)
	test, _, _ := strings.Cut(args[1], "/")
	if len(all[test]) == 0 {
		return fmt.Errorf("%s has no %s", args[0], test)
	}
	for _, root := range []string{test, "TestMain", "init"} {
		keep(all, root)
	}
	for _, f := range files {
		if looksAtSources.Match(f.keptText()) {
			return nil
		}
	}
	for _, f := range files {
		if err := f.write(); err != nil {
			return err
		}
	}
	return nil
}

func read(set *token.FileSet, path string) (*file, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	syntax, err := parser.ParseFile(set, path, text, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	f := &file{path: path, text: text, syntax: syntax, imports: map[string]string{}}
	for _, spec := range syntax.Imports {
		f.imports[importName(spec)] = ""
	}
	return f, nil
}

var majorVersion = regexp.MustCompile(`^v[0-9]+$`)

// importName guesses the name of an imported package.
func importName(spec *ast.ImportSpec) string {
	if spec.Name != nil {
		return spec.Name.Name
	}
	p, _ := strconv.Unquote(spec.Path.Value)
	base := path.Base(p)
	if majorVersion.MatchString(base) {
		base = path.Base(path.Dir(p))
	}
	base, _, _ = strings.Cut(base, ".")
	return strings.ReplaceAll(strings.TrimPrefix(base, "go-"), "-", "")
}

// index finds the declarations of all files.
func index(set *token.FileSet, files []*file) names {
	all := names{}
	methods := names{} // by the receiver's type
	byName := map[*decl]string{}
	for _, f := range files {
		for _, d := range f.syntax.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				at := f.add(set, d, d.Doc)
				if d.Recv == nil {
					all[d.Name.Name] = append(all[d.Name.Name], at)
				} else {
					on := receiver(d.Recv.List[0].Type)
					methods[on] = append(methods[on], at)
					byName[at] = d.Name.Name
				}
			case *ast.GenDecl:
				if d.Tok == token.IMPORT {
					continue
				}
				at := f.add(set, d, d.Doc)
				for _, name := range declared(d) {
					all[name] = append(all[name], at)
				}
			}
		}
	}
	for on, list := range methods {
		for _, at := range list {
			if len(all[on]) > 0 {
				all[on] = append(all[on], at)
			} else { // of a type of the package itself
				all[byName[at]] = append(all[byName[at]], at)
			}
		}
	}
	return all
}

func receiver(t ast.Expr) string {
	switch t := t.(type) {
	case *ast.StarExpr:
		return receiver(t.X)
	case *ast.IndexExpr:
		return receiver(t.X)
	case *ast.IndexListExpr:
		return receiver(t.X)
	case *ast.Ident:
		return t.Name
	}
	return ""
}

func declared(d *ast.GenDecl) (list []string) {
	for _, spec := range d.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			list = append(list, spec.Name.Name)
		case *ast.ValueSpec:
			for _, name := range spec.Names {
				if name.Name != "_" {
					list = append(list, name.Name)
				}
			}
		}
	}
	return list
}

// testNames are names of tests in strings: processes that run one of them.
var testNames = regexp.MustCompile(`Test[A-Za-z0-9_]+`)

func (f *file) add(set *token.FileSet, d ast.Decl, doc *ast.CommentGroup) *decl {
	start := d.Pos()
	if doc != nil {
		start = doc.Pos()
	}
	at := &decl{start: set.Position(start).Offset, end: set.Position(d.End()).Offset, mentions: map[string]bool{}}
	ast.Inspect(d, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok {
				if _, imported := f.imports[x.Name]; imported {
					return false
				}
			}
		case *ast.Ident:
			at.mentions[n.Name] = true
		case *ast.BasicLit:
			for _, name := range testNames.FindAllString(n.Value, -1) {
				at.mentions[name] = true
			}
		}
		return true
	})
	f.decls = append(f.decls, at)
	return at
}

// keep keeps what a name stands for, and what that mentions.
func keep(all names, name string) {
	for _, d := range all[name] {
		if d.kept {
			continue
		}
		d.kept = true
		for other := range d.mentions {
			keep(all, other)
		}
	}
}

func (f *file) keptText() []byte {
	var b bytes.Buffer
	for _, d := range f.decls {
		if d.kept {
			b.Write(f.text[d.start:d.end])
			b.WriteString("\n\n")
		}
	}
	return b.Bytes()
}

// write replaces the file by what is kept of it, or removes it.
func (f *file) write() error {
	kept := f.keptText()
	var imports bytes.Buffer
	for _, spec := range f.syntax.Imports {
		name := importName(spec)
		if name == "_" || name == "." || regexp.MustCompile(`\b`+regexp.QuoteMeta(name)+`\.`).Match(kept) {
			fmt.Fprintf(&imports, "import %s\n", f.text[spec.Pos()-f.syntax.FileStart:spec.End()-f.syntax.FileStart])
		}
	}
	if len(kept) == 0 && imports.Len() == 0 {
		return os.Remove(f.path)
	}
	head := f.text[:f.syntax.Name.End()-f.syntax.FileStart]
	return os.WriteFile(f.path, bytes.Join([][]byte{head, []byte("\n\n"), imports.Bytes(), []byte("\n"), kept}, nil), 0o644)
}
