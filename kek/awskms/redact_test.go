package awskms_test

import (
	"encoding/hex"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/awskms"
	"github.com/embedvault/vault/kek/awskms/awskmstest"
	"github.com/embedvault/vault/keyctx"
)

// Values of the key context that are in each other, that JSON writes otherwise,
// or that are parts of the marks.
func TestContextValuesInErrors(t *testing.T) {
	for name, kc := range map[string]keyctx.KeyContext{
		"HTML":                   {"organization_id": "ACME <Nuclear> & Sons"},
		"one value in another":   {"organization_id": "org_77", "user": "org_77/jane.doe@example.com"},
		"values that overlap":    {"a": "jane.doe", "b": "doe@Nuclear"},
		"beyond the BMP":         {"organization_id": "merger-\U0001F512-bluebird"},
		"quotes and backslashes": {"organization_id": `a "Nuclear" \ option`},
		"a part of the mark":     {"a": "redacted", "b": "[red", "organization_id": "Nuclear"},
	} {
		t.Run(name, func(t *testing.T) {
			for range 10 { // maps are in another order each time
				b := newBench(t, awskms.Options{})
				b.binding = bindingOf(t, kc)
				var echoed string
				b.transport = echo(b.transport, &echoed)
				b.key.Deny(b.principal)
				_, err := b.kek.Wrap(t.Context(), b.secret, b.binding)
				wantClass(t, err, kek.ErrDenied)
				for _, part := range []string{"Nuclear", "jane.doe", "bluebird"} {
					if strings.Contains(err.Error(), part) {
						t.Fatalf("%q is in %q", part, err)
					}
				}
			}
		})
	}
}

// JSON in nothing but ASCII, as other languages write it.
func TestEscapedValuesInErrors(t *testing.T) {
	b := newBench(t, awskms.Options{})
	b.binding = bindingOf(t, keyctx.KeyContext{"organization_id": "Zoë\U0001F512"})
	b.srv.Inject(awskmstest.Fault{Code: "ValidationException", Message: `you sent Zo\u00eb\ud83d\udd12, ` + hex.EncodeToString(b.secret)})
	_, err := b.kek.Wrap(t.Context(), b.secret, b.binding)
	if text := err.Error(); strings.Contains(text, "ud83d") || strings.Contains(text, hex.EncodeToString(b.secret)) {
		t.Errorf("got %q", text)
	}
}

// A long text is cut before it is searched. No half of a value may be left where
// that was, wherever it was.
func TestValuesAtTheCut(t *testing.T) {
	b := newBench(t, awskms.Options{})
	// No four letters of it are in anything else, such as a request's ID.
	long, value := strings.Repeat("v", 1000), strings.Map(func(r rune) rune { return 'G' + r%16 }, hex.EncodeToString(random(200)))
	b.binding = bindingOf(t, keyctx.KeyContext{"a": long, "b": value})
	for n := range 150 {
		message := strings.Repeat(long, 3) + strings.Repeat(".", 7*n) + value + strings.Repeat("x", 1000)
		remove := b.srv.Inject(awskmstest.Fault{Code: "ThrottlingException", Message: message})
		_, err := b.kek.Wrap(t.Context(), b.secret, b.binding)
		wantClass(t, err, kek.ErrUnavailable)
		if strings.Contains(err.Error(), value[:4]) || strings.Contains(err.Error(), "vvvv") {
			t.Fatalf("%d: got %q", n, err)
		}
		remove()
	}
}

// What is hidden leaves marks; marks must not be searched and marked again, which
// would make a text grow with each value.
func TestRedactionDoesNotGrow(t *testing.T) {
	b := newBench(t, awskms.Options{})
	kc := keyctx.KeyContext{}
	for i := range keyctx.MaxPairs {
		kc[fmt.Sprint("k", i)] = []string{"[red", "acte"}[i%2]
	}
	b.binding = bindingOf(t, kc)
	b.srv.Inject(awskmstest.Fault{Code: "ThrottlingException", Message: strings.Repeat("[red", 8<<10)})
	var before, after runtime.MemStats
	for range 5 {
		runtime.ReadMemStats(&before)
		_, err := b.kek.Wrap(t.Context(), b.secret, b.binding)
		runtime.ReadMemStats(&after)
		wantClass(t, err, kek.ErrUnavailable)
		if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 8<<20 {
			t.Fatalf("a message of 32 KiB made a call allocate %d KiB", allocated>>10)
		}
	}
}
