package fieldtest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/embedvault/vault"
)

func (m mutant) harness() Harness {
	return Harness{New: func(_ *testing.T, v *vault.Vault) *DB { return m.new(v) }}
}

// The reference adapter passes, and so the suite asks for nothing impossible.
func TestReferencePasses(t *testing.T) { Run(t, mutant{}.harness()) }

// Each check of the suite catches an adapter that breaks what it is there for.
func TestMutantsAreCaught(t *testing.T) {
	all := append(slices.Clone(checks), check{"Harness", checkHarness, nil})
	catches := map[string]bool{}
	for _, m := range mutants {
		for _, name := range m.caughtBy {
			catches[name] = true
			i := slices.IndexFunc(all, func(c check) bool { return c.name == name })
			if i < 0 {
				t.Fatalf("%s: there is no check %s", m.name, name)
			}
			t.Run(m.name+"/"+name, func(t *testing.T) {
				if len(runCheck(t, m.harness(), all[i], time.Minute)) == 0 {
					t.Error("it was not caught")
				}
			})
		}
	}
	for _, c := range all {
		if !catches[c.name] {
			t.Errorf("nothing shows that the check %s can fail", c.name)
		}
	}
}

// What is absent needs a reason, and must be nothing that is there.
func TestAbsent(t *testing.T) {
	failures := func(absent map[string]string, change func(*DB)) []string {
		h := Harness{Absent: absent, New: func(_ *testing.T, v *vault.Vault) *DB {
			d := mutant{}.new(v)
			if change != nil {
				change(d)
			}
			return d
		}}
		return runCheck(t, h, check{"Harness", checkHarness, nil}, time.Minute)
	}
	for name, f := range map[string][]string{
		"no reason":          failures(map[string]string{GuardPlain: ""}, nil),
		"there and absent":   failures(map[string]string{"Pluck": "it has none"}, nil),
		"no such operation":  failures(map[string]string{"Plukc": "it has none"}, nil),
		"missing and silent": failures(nil, func(d *DB) { d.Tx = nil }),
	} {
		if len(f) == 0 {
			t.Errorf("%s: it was taken", name)
		}
	}
	if f := failures(map[string]string{"Pluck": "it has none"}, func(d *DB) { d.Pluck = nil }); len(f) > 0 {
		t.Error(f)
	}
}

// Checks are left out only for what they need.
func TestLeftOut(t *testing.T) {
	h := Harness{Absent: map[string]string{"Tx": "there are no transactions"}}
	for _, c := range checks {
		if left, want := c.lacks(h) != "", strings.HasPrefix(c.name, "Tx"); left != want {
			t.Errorf("%s: left out: %v, want %v", c.name, left, want)
		}
	}
}

// A check that hangs is reported, and doesn't hold up the others.
func TestHangingCheck(t *testing.T) {
	over := make(chan struct{})
	defer close(over)
	c := check{"hangs", func(*env) { <-over }, nil}
	if f := runCheck(t, mutant{}.harness(), c, 0); len(f) == 0 || !strings.HasPrefix(f[0], "it hangs") {
		t.Error(f)
	}
}

// Plaintext is found in every form in which programs print it.
func TestForms(t *testing.T) {
	const secret = "mailabcdef@example.org"
	for _, text := range []string{
		"x" + secret, "MAILABCDEF@EXAMPLE.ORG", "\\x6d61696c6162636465664065", // cut
		"x'6D61696C616263646566406578616D706C652E6F7267'", "6d61696c616263646566406578616d706c652e6f7267",
		"[1 109 97 105 108 97 98 99 100 101 102 64 101 120 97 109 112 108 101 46 111 114 103]",
		"byte{109, 97, 105, 108, 97, 98, 99, 100, 101, 102, 64, 101, 120, 97, 109, 112, 108, 101, 46, 111, 114, 103}",
		"bWFpbGFiY2RlZkBleGFtcGxlLm9yZw==", "YmFtYWlsYWJjZGVmQGV4YW1wbGUub3Jn",
	} {
		want := !strings.HasPrefix(text, "\\x6d") // what is cut is another text
		if got := formOf([]byte(text), secret) != ""; got != want {
			t.Errorf("%q: found %v", text, got)
		}
	}
}
