package vaultotel_test

import (
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/vaultotel"
)

// paths names each span by those that it is under.
func paths(t *testing.T, spans tracetest.SpanStubs) (names []string, byPath map[string]tracetest.SpanStub) {
	t.Helper()
	byID := make(map[trace.SpanID]tracetest.SpanStub)
	for _, s := range spans {
		byID[s.SpanContext.SpanID()] = s
	}
	byPath = make(map[string]tracetest.SpanStub)
	slices.SortStableFunc(spans, func(a, b tracetest.SpanStub) int { return a.StartTime.Compare(b.StartTime) })
	for _, s := range spans {
		path := s.Name
		for up := s; up.Parent.IsValid(); {
			up = byID[up.Parent.SpanID()]
			path = up.Name + "/" + path
		}
		path = strings.ReplaceAll(path, "embedvault.", "")
		names, byPath[path] = append(names, path), s
	}
	return names, byPath
}

// Calls to KEKs and to the store are under their operation, with what they are about.
func TestSpans(t *testing.T) {
	w := newWorld(t, func(o *vaultotel.Options) { o.Vault = "billing" })
	sealed := must(w.Encrypt(t.Context(), orgA, []byte("x"), nil))(t)
	must(w.Decrypt(t.Context(), orgA, sealed, nil))(t)
	names, spans := paths(t, w.spans.GetSpans())
	want := []string{"encrypt", "encrypt/store.LatestKey", "encrypt/kek.wrap", "encrypt/kek.unwrap", "encrypt/store.InsertKey", "decrypt"}
	if slices.Sort(names); !slices.Equal(names, slices.Sorted(slices.Values(want))) {
		t.Fatalf("the spans are %q, want %q", names, want)
	}
	for path, s := range spans {
		kind := trace.SpanKindClient
		if !strings.Contains(path, "/") {
			kind = trace.SpanKindInternal
		}
		if s.SpanKind != kind || value(s, "embedvault.vault") != "billing" || s.InstrumentationScope.Name != "github.com/embedvault/vault/vaultotel" {
			t.Errorf("%s is of kind %v, %v, of scope %v", path, s.SpanKind, s.Attributes, s.InstrumentationScope.Name)
		}
		if (value(s, "error.type") == "not_found") != (path == "encrypt/store.LatestKey") || s.Status.Code != codes.Unset {
			t.Errorf("%s has the status %v and the error %s", path, s.Status, value(s, "error.type"))
		}
	}
	if s := spans["encrypt/kek.wrap"]; value(s, "embedvault.kek.uri") != "mem:test" || value(s, "embedvault.kek.call") != "wrap" || value(s, "embedvault.kek.attempt") != "1" {
		t.Errorf("the call to the KEK has %v", s.Attributes)
	}
}

// A failure is told by its class: in the status too, unless it is an answer.
func TestSpansOfFailures(t *testing.T) {
	w := newWorld(t, nil)
	must(w.Put(t.Context(), orgA, "there", nil))(t)
	w.spans.Reset()
	w.KEK.SetFault(memkek.Denied)
	calls := []struct {
		call    func() error
		name    string
		class   string
		failure bool
	}{
		{func() error { _, err := w.Get(t.Context(), orgA, "absent"); return err }, "embedvault.get", "not_found", false},
		{func() error { _, err := w.Put(t.Context(), orgA, "there", nil, vault.IfAbsent()); return err }, "embedvault.put", "exists", false},
		{func() error { _, err := w.Encrypt(t.Context(), orgB, nil, nil); return err }, "embedvault.encrypt", "kek_denied", true},
		{func() error { _, err := w.Decrypt(t.Context(), orgA, []byte("no envelope"), nil); return err }, "embedvault.decrypt", "malformed", true},
		{func() error { _, err := w.DecryptString(t.Context(), orgA, "no envelope", nil); return err }, "embedvault.decrypt", "malformed", true},
	}
	for _, c := range calls {
		if c.call() == nil {
			t.Fatalf("%s doesn't fail", c.name)
		}
		spans := w.spans.GetSpans()
		s := spans[len(spans)-1] // the operation ends last
		wantStatus := codes.Unset
		if c.failure {
			wantStatus = codes.Error
		}
		if s.Name != c.name || value(s, "error.type") != c.class || s.Status.Code != wantStatus || len(s.Events) != 0 {
			t.Errorf("%s has the class %s, %v, %v; want %s of %s", s.Name, value(s, "error.type"), s.Status, s.Events, c.class, c.name)
		}
		if c.failure && s.Status.Description != c.class {
			t.Errorf("%s is described as %q", s.Name, s.Status.Description)
		}
	}
}

// The calls of a job are under it, those in batches too, which no single key began.
func TestSpansOfAJob(t *testing.T) {
	w := newWorld(t, nil)
	ok(t, w.Prepare(t.Context(), orgA, orgB))
	w.KEK.Rotate()
	w.spans.Reset()
	if report := must(w.Rewrap(t.Context(), vault.RewrapOptions{All: true}))(t); report.Moved != 2 {
		t.Fatalf("it moved %d", report.Moved)
	}
	names, spans := paths(t, w.spans.GetSpans())
	for _, want := range []string{"rewrap", "rewrap/kek.unwrap", "rewrap/store.ListKeys"} {
		if s, found := spans[want]; !found || s.Status.Code != codes.Unset {
			t.Errorf("there is no good span %s among %q", want, names)
		}
	}
	for _, path := range names {
		if !strings.HasPrefix(path, "rewrap") {
			t.Errorf("%s is not under the job", path)
		}
	}
}
