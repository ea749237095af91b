package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/embedvault/vault"
)

// full is an event with all its fields.
func full() vault.Event {
	return vault.Event{
		Name: vault.DataRead, Time: time.Date(2026, 11, 25, 10, 11, 12, 123456789, time.FixedZone("x", 3600)), Actor: "ann", Reason: "ticket 7",
		ContextHash: vault.ContextHash{1}, Context: vault.KeyContext{"b": "2", "a": "1"}, KeyID: vault.KeyID{2}, Object: "n",
		ObjectID: vault.ID{3}, VersionID: vault.ID{4}, KEK: "mem:x", Duration: 1500, Err: fmt.Errorf("get: %w", vault.ErrKEKDenied),
	}
}

// The names of the fields, as docs/SPEC.md has them.
func TestEventFields(t *testing.T) {
	zeros := func(n int) string { return strings.Repeat("0", n) }
	want := `{"time":"2026-11-25T09:11:12.123456Z","event":"data.read","actor":"ann","reason":"ticket 7","context_hash":"01` + zeros(62) +
		`","context":{"a":"1","b":"2"},"key_id":"02` + zeros(62) + `","object":"n","object_id":"03000000-0000-0000-0000-000000000000",` +
		`"version_id":"04000000-0000-0000-0000-000000000000","kek":"mem:x","duration_ns":1500,"error_class":"kek_denied","error":"get: ` + vault.ErrKEKDenied.Error() + `"}`
	if got := "{" + string(appendEvent(nil, full())) + "}"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	want = `{"time":"2026-11-25T10:00:00.000000Z","event":"data.read","context_hash":"` + zeros(64) + `","duration_ns":0}`
	if got := "{" + string(appendEvent(nil, vault.Event{Name: vault.DataRead, Time: event(0).Time})) + "}"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Every field of an event changes its line: none that is added to the vault is left out.
func TestEveryFieldIsWritten(t *testing.T) {
	whole := string(appendEvent(nil, full()))
	for i := range reflect.TypeFor[vault.Event]().NumField() {
		e := full()
		field := reflect.ValueOf(&e).Elem().Field(i)
		if name := reflect.TypeFor[vault.Event]().Field(i).Name; field.IsZero() {
			t.Errorf("the test's event has no %s", name)
		} else if field.SetZero(); string(appendEvent(nil, e)) == whole {
			t.Errorf("%s is not written", name)
		}
	}
}

// Every error of package vault has a class of its own.
func TestEverySentinelHasAClass(t *testing.T) {
	files, err := filepath.Glob("../*.go")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, s := range g.Specs {
				for _, n := range s.(*ast.ValueSpec).Names {
					if strings.HasPrefix(n.Name, "Err") {
						names = append(names, n.Name)
					}
				}
			}
		}
	}
	var codes []string
	for _, c := range classes {
		codes = append(codes, c.code)
		if got := Class(fmt.Errorf("x: %w", c.err)); got != c.code {
			t.Errorf("%v: class %q, want %q", c.err, got, c.code)
		}
	}
	for _, n := range names {
		var snake strings.Builder
		for i, r := range strings.TrimPrefix(strings.ReplaceAll(n, "KEK", "Kek"), "Err") {
			if unicode.IsUpper(r) && i > 0 {
				snake.WriteByte('_')
			}
			snake.WriteRune(unicode.ToLower(r))
		}
		if !slices.Contains(codes, snake.String()) {
			t.Errorf("%s has no class; add %q to the list and to docs/SPEC.md", n, snake.String())
		}
	}
	if len(names) < 25 || Class(nil) != "" || Class(errors.New("x")) != "other" {
		t.Errorf("%d sentinels", len(names))
	}
}

// hostile are texts that attack whoever reads a log.
var hostile = []string{
	"a\nb", "a\r\nb", "\x1b[2J\x1b[1;1H", "\x1b]0;title\x07", "a\x00b", "tab\there", "\x7f", "\u0085", "\u009b31m",
	"a\u2028b", "a\u2029b", "\u202egnp.exe", "\u2066x\u2069", "\u200b\u200d\ufeff", "\u061c", "\U000e0041", "\u00ad",
	"\xff\xfe", "\xed\xa0\x80", "\xc3", `","actor":"root`, `\`, `\u000a`, "}\n{\"event\":\"data.read\"}", "\U0001F600", "ünïcödé", "日本語",
	`{"seq":1,"prev":"`, strings.Repeat("ü", 2000), strings.Repeat("\x01", 2000), strings.Repeat("\xff", 2000), "ab\ufffdc",
}

// Whatever an event's texts are: it makes one line, of one JSON object, in which nothing
// but printable characters stands and which says what was meant.
func TestLogInjection(t *testing.T) {
	k := newKeeper()
	path := filepath.Join(t.TempDir(), "audit.log")
	plain := filepath.Join(t.TempDir(), "plain.log")
	l := open(t, path, Options{})
	start(t, l, k)
	j, err := OpenJSONLines(plain, JSONLinesOptions{Sync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	for _, s := range hostile {
		e := event(0)
		e.Actor, e.Reason, e.Object, e.KEK, e.Err = s, s, s, s, errors.New(s)
		e.Name = vault.EventName(s + "x")
		e.Context = vault.KeyContext{s: s, "k" + s: s}
		if err := errors.Join(l.OnEvent(t.Context(), e), j.OnEvent(t.Context(), e)); err != nil {
			t.Fatal(err)
		}
	}
	closeLog(t, l)
	noFindings(t, verify(t, withKey(), path))
	for _, path := range []string{path, plain} {
		lines := readLines(t, path)
		if want := len(hostile); len(lines) != want && len(lines) != want+4 {
			t.Errorf("%s has %d lines, want %d", path, len(lines), want)
		}
		for _, line := range lines {
			clean(t, strings.TrimSuffix(line, "\n"))
			if len(line) > 100_000 {
				t.Errorf("a line of %d bytes", len(line))
			}
		}
		n := 0
		for r, err := range Read([]Source{{path, strings.NewReader(strings.Join(lines, ""))}}, Filter{}) {
			if err != nil {
				t.Fatal(err)
			}
			want := strings.ToValidUTF8(hostile[n], "\ufffd")
			if len(hostile[n]) < maxText && (strings.ReplaceAll(r.Actor, "\ufffd", "") != strings.ReplaceAll(want, "\ufffd", "") || r.Object != r.Actor || r.Error != r.Actor) {
				t.Errorf("%q is read as %q", hostile[n], r.Actor)
			}
			if len(r.Actor) > 3*maxText+3 {
				t.Errorf("%d bytes are read", len(r.Actor))
			}
			n++
		}
		if n != len(hostile) {
			t.Errorf("%d records of %d", n, len(hostile))
		}
	}
}

// clean reports what a terminal or a reader of lines takes for more than text.
func clean(t *testing.T, line string) {
	t.Helper()
	if !utf8.ValidString(line) {
		t.Errorf("no UTF-8: %q", line)
	}
	for _, r := range line {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r) {
			t.Errorf("U+%04X stands in %.100q", r, line)
		}
	}
}

func FuzzString(f *testing.F) {
	for _, s := range hostile {
		f.Add(s, 512)
	}
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = max(8, limit%4096)
		b := appendString(nil, s, limit)
		clean(t, string(b))
		var back string
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if len(s) <= limit && utf8.ValidString(s) && back != s {
			t.Errorf("%q is read as %q", s, back)
		}
		if bytes.Count(b, []byte{'"'}) != 2+strings.Count(back, `"`) {
			t.Errorf("%q", b)
		}
	})
}

// A line stays below what a reader takes, whatever the event.
func TestLongestLine(t *testing.T) {
	e := full()
	long := strings.Repeat("\x01", 1<<20)
	e.Name, e.Actor, e.Reason, e.Object, e.KEK, e.Err = vault.EventName(long), long, long, long, long, errors.New(long)
	e.Context = vault.KeyContext{}
	for i := range 100 {
		e.Context[fmt.Sprint(i)+long] = long
	}
	s := state{log: vault.ID{1}, seq: 1 << 62}
	b := s.appendEventLine(nil, appendEvent(nil, e), true)
	if len(b) > maxLine {
		t.Fatalf("%d bytes", len(b))
	}
	if _, err := parseLine(b[:len(b)-1]); err != nil {
		t.Fatal(err)
	}
}

type panicking struct{}

func (panicking) Error() string { panic("no") }

func TestErrorThatPanics(t *testing.T) {
	e := full()
	e.Err = panicking{}
	if b := string(appendEvent(nil, e)); !strings.Contains(b, `"error_class":"other","error":"an error of type audit.panicking`) {
		t.Error(b)
	}
}

// The plain sink: lines, what is torn, reopening after logrotate.
func TestJSONLines(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.log")
	if err := os.WriteFile(path, []byte(`{"time":"to`), 0o600); err != nil {
		t.Fatal(err)
	}
	j, err := OpenJSONLines(path, JSONLinesOptions{})
	if err != nil {
		t.Fatal(err)
	}
	on := func(i int) {
		t.Helper()
		if err := j.OnEvent(t.Context(), event(i)); err != nil {
			t.Fatal(err)
		}
	}
	on(0)
	on(1)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	on(2)
	if err := j.Reopen(); err != nil {
		t.Fatal(err)
	}
	on(3)
	if err := errors.Join(j.Close(), j.Close()); err != nil {
		t.Fatal(err)
	}
	if err := j.OnEvent(t.Context(), event(4)); !errors.Is(err, errClosed) || !errors.Is(j.Reopen(), errClosed) {
		t.Errorf("after Close: %v", err)
	}
	if lines := readLines(t, path+".1"); len(lines) != 4 {
		t.Errorf("%q", lines)
	}
	var got []string
	for _, p := range []string{path + ".1", path} {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		for r, err := range Read([]Source{{filepath.Base(p), bytes.NewReader(b)}}, Filter{}) {
			if err != nil {
				got = append(got, fmt.Sprint(errors.Is(err, ErrLine), r.Line))
				continue
			}
			got = append(got, r.Actor)
		}
	}
	if want := []string{"true 1", "user-0", "user-1", "user-2", "user-3"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// shortWriter writes so many bytes and then no more.
type shortWriter struct {
	b    bytes.Buffer
	room int
}

func (w *shortWriter) Write(b []byte) (int, error) {
	if n := w.room; n < len(b) {
		w.room = 0
		w.b.Write(b[:n])
		return n, errFull
	}
	w.room -= len(b)
	return w.b.Write(b)
}

// After part of a line the next one begins anew.
func TestJSONLinesOnAFullDisk(t *testing.T) {
	w := &shortWriter{room: 450}
	j := NewJSONLines(w)
	failed := 0
	for i := range 6 {
		if err := j.OnEvent(t.Context(), event(i)); err != nil {
			failed++
			if w.room = 5000; i == 2 {
				w.room = 0
			}
		}
	}
	if err := errors.Join(j.Reopen(), j.Close()); err != nil {
		t.Fatal(err)
	}
	good, bad := 0, 0
	for _, err := range Read([]Source{{"w", &w.b}}, Filter{}) {
		if err != nil {
			bad++
		} else {
			good++
		}
	}
	if failed == 0 || good != 6-failed || bad != 1 {
		t.Errorf("%d failed, %d good, %d bad", failed, good, bad)
	}
}

// Who, when, why, under which key.
func TestFilter(t *testing.T) {
	var b bytes.Buffer
	j := NewJSONLines(&b)
	for i := range 10 {
		if err := j.OnEvent(context.Background(), event(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.OnEvent(context.Background(), full()); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		f    Filter
		want int
	}{
		"all":     {Filter{}, 11},
		"actor":   {Filter{Actor: "user-3"}, 1},
		"object":  {Filter{Object: "stripe/api-key"}, 10},
		"both":    {Filter{Object: "stripe/api-key", Actor: "ann"}, 0},
		"reason":  {Filter{Reason: "ticket 7"}, 1},
		"event":   {Filter{Event: vault.DataDeleted}, 0},
		"key":     {Filter{KeyID: vault.KeyID{7}}, 10},
		"id":      {Filter{ObjectID: vault.ID{3}}, 1},
		"failed":  {Filter{Failed: true}, 3},
		"hash":    {Filter{ContextHash: vault.ContextHash{3, 9}}, 1},
		"pairs":   {Filter{Context: vault.KeyContext{"a": "1"}}, 1},
		"either":  {Filter{Context: vault.KeyContext{"a": "1"}, ContextHash: vault.ContextHash{3, 9}}, 2},
		"no pair": {Filter{Context: vault.KeyContext{"a": "2"}}, 0},
		"from":    {Filter{From: event(4).Time}, 6},
		"until":   {Filter{Until: event(4).Time}, 5},
	} {
		n := 0
		for r, err := range Read([]Source{{"b", bytes.NewReader(b.Bytes())}}, c.f) {
			if err != nil || r.Line == 0 || r.File != "b" {
				t.Fatalf("%+v, %v", r, err)
			}
			n++
		}
		if n != c.want {
			t.Errorf("%s: %d, want %d", name, n, c.want)
		}
	}
	for range Read([]Source{{"b", bytes.NewReader(b.Bytes())}}, Filter{}) {
		break
	}
}

// A reader that fails ends it, with its error.
func TestReadFails(t *testing.T) {
	n := 0
	for _, err := range Read([]Source{{"x", failing{}}, {"y", strings.NewReader("")}}, Filter{}) {
		if n++; !errors.Is(err, fs.ErrPermission) || errors.Is(err, ErrLine) {
			t.Error(err)
		}
	}
	if _, err := Verify(t.Context(), []Source{{"x", failing{}}}, VerifyOptions{}); !errors.Is(err, fs.ErrPermission) || n != 1 {
		t.Errorf("%v; %d errors", err, n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Verify(ctx, []Source{{"y", strings.NewReader("x\n")}}, VerifyOptions{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := VerifyFiles(t.Context(), []string{filepath.Join(t.TempDir(), "none")}, VerifyOptions{}); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, fs.ErrPermission }

// The names of a line's members, found by hand, are those that a parser finds.
func TestOnceEach(t *testing.T) {
	for text, ok := range map[string]bool{
		`{}`: true, `{"a":1}`: true, `{"a":1,"b":[1,{"a":2,"A":"}"}],"c":"\",\"a\":"}`: true, `{"a":{"a":{"a":1}},"b":"a"}`: true,
		`{"a":"\\","b":"\\\"","c":null}`: true, `{"a":[],"b":[[]],"c":{}}`: true, `{"a" : "b" , "b" : "a"}`: true,
		`{"a":1,"a":1}`: false, `{"a":1,"b":2,"\u0061":3}`: false, `{"A":1}`: false, `{"":1}`: false, `{"a":[{"b":1}],"b":{},"a":2}`: false,
		`[]`: false, `"a"`: false, `{} `: false, ` {}`: false, `1`: false, "{\"a\":1}\r": false, `{"a b":1}`: false, `{"a":"\\","a":1}`: false,
	} {
		if !json.Valid([]byte(text)) {
			t.Fatalf("%s is no JSON", text)
		}
		if err := onceEach([]byte(text)); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// A line may be as long as a line can be, and full of names: the one that comes twice is
// found, wherever it is, and none that doesn't.
func TestOnceEachOfManyNames(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"twice":0`)
	for i := 0; b.Len() < maxLine-20; i++ {
		fmt.Fprintf(&b, `,"%05x":0`, i)
	}
	if err := onceEach([]byte(b.String() + "}")); err != nil {
		t.Error(err)
	}
	if err := onceEach([]byte(b.String() + `,"twice":0}`)); err == nil {
		t.Error("taken")
	}
}
