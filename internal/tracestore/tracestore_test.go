package tracestore

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/memstore"
)

// told counts the calls that a store tells of, and keeps the last error.
type told struct {
	begun, ended map[string]int
	err          error
}

// inCtx is under what key the ctx of a call is marked.
type inCtx struct{}

func (w *told) begin(ctx context.Context, method string) (context.Context, func(error)) {
	w.begun[method]++
	return context.WithValue(ctx, inCtx{}, method), func(err error) {
		w.ended[method]++
		w.err = err
	}
}

func watched(s storage.Store) (storage.Store, *told) {
	w := &told{begun: make(map[string]int), ended: make(map[string]int)}
	return Wrap(s, w.begin), w
}

// call calls a method with zero arguments and returns its error.
func call(s any, method reflect.Method) error {
	var args []reflect.Value
	f := reflect.ValueOf(s).MethodByName(method.Name)
	for i := range f.Type().NumIn() {
		if f.Type().In(i) == reflect.TypeFor[context.Context]() {
			args = append(args, reflect.ValueOf(context.Background()))
			continue
		}
		args = append(args, reflect.Zero(f.Type().In(i)))
	}
	out := f.Call(args)
	err, _ := out[len(out)-1].Interface().(error)
	return err
}

// Every method of a store is told of once, under its name and with its error, and
// its driver sees the ctx of the call.
func TestEveryMethodIsTold(t *testing.T) {
	fault := errors.New("on fire")
	all := reflect.TypeFor[storage.Store]()
	for i := range all.NumMethod() {
		m := all.Method(i)
		mem := memstore.New()
		s, w := watched(mem)
		mem.SetFault(func(op string) error {
			if op != m.Name {
				t.Errorf("%s calls %s", m.Name, op)
			}
			return fault
		})
		err := call(s, m)
		if !errors.Is(err, fault) || !errors.Is(w.err, fault) {
			t.Errorf("%s gives %v, and tells %v", m.Name, err, w.err)
		}
		if want := map[string]int{m.Name: 1}; !maps.Equal(w.begun, want) || !maps.Equal(w.ended, want) {
			t.Errorf("%s tells of the beginning of %v, the end of %v", m.Name, w.begun, w.ended)
		}
	}
}

// A driver's panic is told and goes on.
func TestAPanicIsTold(t *testing.T) {
	mem := memstore.New()
	s, w := watched(mem)
	mem.SetFault(func(string) error { panic("the driver") })
	defer func() {
		if p := recover(); p != "the driver" || w.err == nil || w.ended["Ping"] != 1 {
			t.Errorf("it panics with %v, tells %v", p, w.err)
		}
	}()
	_ = s.Ping(t.Context())
}

// txStore is a store whose calls depend on a transaction in ctx.
type txStore struct {
	*memstore.Store
	asked string
}

func (s *txStore) InTx(ctx context.Context) bool {
	s.asked, _ = ctx.Value(inCtx{}).(string)
	return s.asked == "mine"
}

// bare is a store and nothing more, whatever is in it.
type bare struct{ storage.Store }

// bareTx is a store that has transactions and can't update many keys.
type bareTx struct{ storage.Store }

func (bareTx) InTx(ctx context.Context) bool { return ctx.Value(inCtx{}) == "mine" }

// Updating many keys is one call, and fails with what isn't an answer.
func TestUpdateKeysIsTold(t *testing.T) {
	for _, answer := range []error{nil, storage.ErrVersionConflict, storage.ErrNotFound, errors.New("on fire")} {
		s, w := watched(updating{memstore.New(), []error{nil, answer}})
		got := s.(storage.KeyBatchUpdater).UpdateKeys(t.Context(), make([]storage.KeyRecord, 2))
		if len(got) != 2 || got[1] != answer || w.begun["UpdateKeys"] != 1 || w.ended["UpdateKeys"] != 1 {
			t.Errorf("results %v, begun %v, ended %v", got, w.begun, w.ended)
		}
		if failed := answer != nil && !errors.Is(answer, storage.ErrVersionConflict) && !errors.Is(answer, storage.ErrNotFound); (w.err != nil) != failed {
			t.Errorf("of %v it tells %v", answer, w.err)
		}
	}
}

type updating struct {
	storage.Store
	results []error
}

func (u updating) UpdateKeys(context.Context, []storage.KeyRecord) []error { return u.results }

// A wrapped store has an optional interface if and only if the store has it, and it
// is the store that answers.
func TestOptionalInterfacesAreTheStores(t *testing.T) {
	for _, inner := range []storage.Store{memstore.New(), bare{memstore.New()}, &txStore{Store: memstore.New()}, bareTx{memstore.New()}, bare{&txStore{Store: memstore.New()}}} {
		s, _ := watched(inner)
		_, want := inner.(storage.TxTeller)
		_, many := inner.(storage.KeyBatchUpdater)
		if _, got := s.(storage.KeyBatchUpdater); got != many {
			t.Errorf("of a %T it is a KeyBatchUpdater: %v, want %v", inner, got, many)
		}
		tx, got := s.(storage.TxTeller)
		if got != want {
			t.Errorf("of a %T it is a TxTeller: %v, want %v", inner, got, want)
		}
		if got && (tx.InTx(t.Context()) || !tx.InTx(context.WithValue(t.Context(), inCtx{}, "mine"))) {
			t.Errorf("of a %T, InTx isn't the store's", inner)
		}
	}
}

// Each interface that package storage exports is one of the three of Store, or is
// handed on. Who adds one must add it here.
func TestNoOptionalInterfaceIsForgotten(t *testing.T) {
	files, err := filepath.Glob("../../storage/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	known := append([]string{"Store", "KeyStore", "ObjectStore", "SystemStore"}, optional...)
	var found []string
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, text, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok || !spec.Name.IsExported() {
				return true
			}
			if _, ok := spec.Type.(*ast.InterfaceType); ok {
				found = append(found, spec.Name.Name)
			}
			return true
		})
	}
	slices.Sort(found)
	slices.Sort(known)
	if !slices.Equal(found, known) {
		t.Errorf("package storage exports the interfaces %v; those known here are %v", found, known)
	}
}
