package storage

import (
	"crypto/sha256"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/embedvault/vault/keyctx"
)

func sha256Of(b []byte) keyctx.Hash { return sha256.Sum256(b) }

func TestIDs(t *testing.T) {
	a, b := NewID(testTime), NewID(testTime.Add(time.Millisecond))
	if a.String() >= b.String() || a.IsZero() || !(ID{}).IsZero() {
		t.Errorf("%s, %s", a, b)
	}
	if a[6]>>4 != 7 || a[8]>>6 != 2 {
		t.Errorf("%s is not a UUID of version 7", a)
	}
	text, err := a.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	var c ID
	if err := c.UnmarshalText(text); err != nil || c != a {
		t.Errorf("%s became %s, %v", a, c, err)
	}
	good := a.String()
	for _, bad := range []string{
		"", good[1:], good + "0", strings.ToUpper("0197a3c5-7e1b-7c3a-9d42-5b1f0e6a8c1a"),
		strings.ReplaceAll(good, "-", "_"), "g" + good[1:], good[:35] + "é", "{" + good[:34] + "}", strings.ReplaceAll(good, "-", "") + "----",
	} {
		if id, err := ParseID(bad); err == nil {
			t.Errorf("%q was read as %s", bad, id)
		}
	}
}

func TestTruncateTime(t *testing.T) {
	zone := time.FixedZone("", 3600)
	for _, c := range []struct{ in, want time.Time }{
		{time.Time{}, time.Time{}},
		{testTime.Add(999), testTime},
		{testTime.Add(-1), testTime.Add(-time.Microsecond)},
		{testTime.In(zone), testTime},
		{time.Date(1960, 1, 1, 0, 0, 0, 1_999, zone), time.Date(1959, 12, 31, 23, 0, 0, 1_000, time.UTC)},
	} {
		if got := TruncateTime(c.in); got != c.want {
			t.Errorf("%v became %v, want %v", c.in, got, c.want)
		}
	}
}

func TestClone(t *testing.T) {
	key := wideKey(t)
	clone := key.Clone()
	clone.Context["x"] = "y"
	clone.Wrappings[0].Wrapped[0] ^= 1
	clone.Previous[0].Wrappings[0].URI = "x"
	clone.Previous[1].Wrappings[0].Wrapped[0] ^= 2
	if !reflect.DeepEqual(key, wideKey(t)) {
		t.Error("the clone of a key record shares something with it")
	}
	object := wideObject(t)
	was := wideObject(t)
	was.ID, was.VersionID = object.ID, object.VersionID
	copied := object.Clone()
	if !copied.Same(object) {
		t.Error("a clone is not the same")
	}
	copied.Context["x"] = "y"
	copied.Labels["x"] = "y"
	copied.Envelope[0] ^= 1
	if !object.Same(was) || copied.Same(object) {
		t.Error("the clone of an object record shares something with it")
	}
}

// TestSame changes every field in turn: one that Same forgets would make an
// import of something else look like the same.
func TestSame(t *testing.T) {
	a := wideObject(t)
	v := reflect.ValueOf(&a).Elem()
	for i := range v.NumField() {
		b := a.Clone()
		f := reflect.ValueOf(&b).Elem().Field(i)
		switch x := f.Addr().Interface().(type) {
		case *ID:
			x[0] ^= 1
		case *keyctx.Hash:
			x[0] ^= 1
		case *keyctx.KeyID:
			x[0] ^= 1
		case *keyctx.KeyContext:
			*x = keyctx.KeyContext{"o": "2"}
		case *string:
			*x += "x"
		case *bool:
			*x = !*x
		case *time.Time:
			*x = x.Add(-time.Microsecond)
		case *uint64:
			*x--
		case *int64:
			*x--
		case *map[string]string:
			*x = nil
		case *[]byte:
			*x = nil
		default:
			t.Fatalf("a field of a new type: %s", v.Type().Field(i).Name)
		}
		if a.Same(b) || b.Same(a) {
			t.Errorf("records with another %s are the same", v.Type().Field(i).Name)
		}
	}
}

func TestContextFilterMatches(t *testing.T) {
	kc, h := testContext(t, keyctx.KeyContext{"organization_id": "org_01", "user_id": "u", keyctx.ReservedNamespace: "app"})
	other := keyctx.Hash{1}
	for i, c := range []struct {
		f    ContextFilter
		want bool
	}{
		{ContextFilter{Hash: h}, true},
		{ContextFilter{Hash: h, Namespace: "elsewhere"}, true},
		{ContextFilter{Hash: other, Namespace: "app"}, false},
		{ContextFilter{All: true, Namespace: "app"}, true},
		{ContextFilter{All: true}, false},
		{ContextFilter{All: true, AnyNamespace: true}, true},
		{ContextFilter{Match: keyctx.KeyContext{"user_id": "u"}, Namespace: "app"}, true},
		{ContextFilter{Match: keyctx.KeyContext{"user_id": "u"}}, false},
		{ContextFilter{Match: keyctx.KeyContext{"user_id": "u"}, AnyNamespace: true}, true},
		{ContextFilter{Match: keyctx.KeyContext{"user_id": "v"}, Namespace: "app"}, false},
		{ContextFilter{Match: keyctx.KeyContext{"user_id": "u", "x": "y"}, Namespace: "app"}, false},
		{ContextFilter{Namespace: "app"}, false},
	} {
		if got := c.f.Matches(kc, h); got != c.want {
			t.Errorf("%d: got %v, want %v", i, got, c.want)
		}
	}
}

// TestCursors changes every field of a query that decides what is listed, and
// wants its cursor to be refused then.
func TestCursors(t *testing.T) {
	q := ObjectQuery{Contexts: ContextFilter{All: true}, Cursor: ""}
	pos := []byte("position")
	q.Cursor = q.NextCursor("driver", pos)
	same := q
	same.Limit, same.Now, same.WithEnvelope = 7, testTime, true
	if got, err := same.CursorPosition("driver"); err != nil || string(got) != string(pos) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := q.CursorPosition("another driver"); !errors.Is(err, ErrInvalidCursor) {
		t.Error(err)
	}
	for i, change := range []func(*ObjectQuery){
		func(q *ObjectQuery) { q.Contexts = ContextFilter{Hash: keyctx.Hash{1}} },
		func(q *ObjectQuery) { q.Contexts.AnyNamespace = true },
		func(q *ObjectQuery) { q.Contexts.Namespace = "n" },
		func(q *ObjectQuery) { q.Contexts = ContextFilter{Match: keyctx.KeyContext{"a": "b"}} },
		func(q *ObjectQuery) { q.NamePrefix = "p" },
		func(q *ObjectQuery) { q.Order = OrderByUpdated },
		func(q *ObjectQuery) { q.UpdatedAfter = testTime },
		func(q *ObjectQuery) { q.Descending = true },
		func(q *ObjectQuery) { q.IncludeExpired = true },
	} {
		other := q
		change(&other)
		if _, err := other.CursorPosition("driver"); !errors.Is(err, ErrInvalidCursor) {
			t.Errorf("change %d: %v", i, err)
		}
	}
	if got, err := (KeyQuery{}).CursorPosition("driver"); got != nil || err != nil {
		t.Errorf("no cursor: %q, %v", got, err)
	}
	long := q.NextCursor("driver", make([]byte, 750))
	if len(long) > maxCursorLen {
		t.Errorf("a cursor of %d bytes", len(long))
	}
}
