package sqlcore

import (
	"slices"
	"testing"
)

func TestCompile(t *testing.T) {
	const text = "SELECT {1 bytes}, {0 int} FROM {objects} WHERE a = {1 bytes}"
	for _, c := range []struct {
		l    lang
		want string
		args []any
	}{
		{lang{PostgreSQL, names{"s", "p_"}}, `SELECT $2::bytea, $1::bigint FROM "s"."p_objects" WHERE a = $2::bytea`, []any{0, 1}},
		{lang{MySQL, names{"", "p_"}}, "SELECT ?, ? FROM `p_objects` WHERE a = ?", []any{1, 0, 1}},
		{lang{SQLite, names{"", "p_"}}, `SELECT ?, ? FROM "p_objects" WHERE a = ?`, []any{1, 0, 1}},
	} {
		st := c.l.compile(text)
		if got := st.args([]any{0, 1}); st.text != c.want || !slices.Equal(got, c.args) {
			t.Errorf("%s: got %s, %v", c.l.Dialect, st.text, got)
		}
	}
}

func TestPrefixEnd(t *testing.T) {
	for prefix, want := range map[string]string{"a": "b", "a\xff": "b", "": "", "\xff\xff": "", "az": "a{"} {
		if got := string(prefixEnd([]byte(prefix))); got != want {
			t.Errorf("%q: got %q, want %q", prefix, got, want)
		}
	}
}
