package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// TestPlainProgress: without a terminal there is a line every five seconds, with the rate
// of this run, whatever was done before.
func TestPlainProgress(t *testing.T) {
	for _, json := range []bool{false, true} {
		var errOut bytes.Buffer
		a := newApp(strings.NewReader(""), &bytes.Buffer{}, &errOut, func(string) string { return "" })
		now := time.Unix(1_700_000_000, 0)
		a.now = func() time.Time { return now }
		a.flags.json = json
		m, err := a.meter("rewrap", func() (int64, error) { return 5000, nil })
		if err != nil {
			t.Fatal(err)
		}
		for second := range 12 {
			m.set(int64(2000 + 100*second)) // a job that goes on at 2000
			now = now.Add(time.Second)
		}
		m.end()
		want := "rewrap: 2500 of 5000, 100/s, 25s left\nrewrap: 3000 of 5000, 100/s, 20s left\n"
		if json {
			want = `{"progress":{"done":2500,"per_second":100,"seconds_left":25,"total":5000,"what":"rewrap"}}` + "\n" +
				`{"progress":{"done":3000,"per_second":100,"seconds_left":20,"total":5000,"what":"rewrap"}}` + "\n"
		}
		if got := errOut.String(); got != want {
			t.Errorf("%s\nwant\n%s", got, want)
		}
	}
}

func TestAge(t *testing.T) {
	for in, want := range map[string]time.Duration{"30d": 720 * time.Hour, "12h": 12 * time.Hour, "1h30m": 90 * time.Minute, "0s": 0} {
		var d age
		if err := d.Set(in); err != nil || time.Duration(d) != want {
			t.Errorf("%s: %v, %v", in, time.Duration(d), err)
		}
	}
	for _, in := range []string{"", "d", "-1h", "-1d", "1.5d", "soon", "99999999d"} {
		if new(age).Set(in) == nil {
			t.Errorf("%q was taken", in)
		}
	}
}
