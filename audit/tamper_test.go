package audit

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/embedvault/vault"
)

// rechain makes the chain right again, as somebody without the key can.
func rechain(lines []string) []string {
	out := slices.Clone(lines)
	var s state
	for i, l := range out {
		_, rest, _ := strings.Cut(l, `","type":"`)
		typ, members, _ := strings.Cut(rest, `",`)
		out[i] = string(s.appendLine(nil, typ, []byte(strings.TrimSuffix(members, "}\n"))))
	}
	return out
}

// What somebody does to a log is found, and it is said where. Lines: 1 header, 2
// checkpoint, 3 to 12 events, 13 checkpoint, 14 to 23 events, 24 checkpoint, 25 events,
// 26 closed, 27 checkpoint.
func TestTamperedWith(t *testing.T) {
	k := newKeeper()
	_, lines, id := whole(t, k, 21, Options{Every: 10})
	if len(lines) != 27 {
		t.Fatalf("%d lines", len(lines))
	}
	other := newKeeper()
	_, strange, _ := whole(t, other, 21, Options{Every: 10})
	for name, c := range map[string]struct {
		edit func([]string) []string
		want string
	}{
		"nothing":          {func(l []string) []string { return l }, ""},
		"a record changed": {func(l []string) []string { l[6] = strings.Replace(l[6], "user-4", "user-5", 1); return l }, "changed@7"},
		"an error taken out of it": {func(l []string) []string {
			i := strings.Index(l[6], `,"error_class"`)
			l[6] = l[6][:i] + "}\n"
			return l
		}, "changed@7"},
		"a space added":          {func(l []string) []string { l[6] = strings.Replace(l[6], "}\n", " }\n", 1); return l }, "changed@7"},
		"another line end":       {func(l []string) []string { l[6] = strings.Replace(l[6], "\n", "\r\n", 1); return l }, "malformed@7"},
		"a record made garbage":  {func(l []string) []string { l[6] = "garbage\n"; return l }, "malformed@7"},
		"two made garbage":       {func(l []string) []string { l[6], l[7] = "garbage\n", "\x00\xff\n"; return l }, "malformed@7 malformed@8"},
		"a record removed":       {func(l []string) []string { return slices.Delete(l, 6, 7) }, "missing@7"},
		"five records removed":   {func(l []string) []string { return slices.Delete(l, 4, 9) }, "missing@5"},
		"two swapped":            {func(l []string) []string { l[6], l[7] = l[7], l[6]; return l }, "reordered@8"},
		"one moved to the front": {func(l []string) []string { return slices.Insert(slices.Delete(slices.Clone(l), 8, 9), 4, l[8]) }, "missing@5 reordered@6 reordered@7 reordered@8 reordered@9"},
		"one doubled":            {func(l []string) []string { return slices.Insert(l, 6, l[6]) }, "duplicated@8"},
		"an old one added again": {func(l []string) []string { return slices.Insert(l, 9, l[4]) }, "inserted@10"},
		"one inserted": {func(l []string) []string {
			return slices.Insert(l, 6, strings.Replace(l[6], "user-4", "user-x", 1))
		}, "inserted@8 changed@7"},
		"a checkpoint removed":     {func(l []string) []string { return slices.Delete(l, 12, 13) }, "missing@13"},
		"the header removed":       {func(l []string) []string { return l[1:] }, "malformed@1 missing_start@1 forged@1 forged@12 forged@23 forged@26 unauthenticated@0 another_log@0"},
		"the end cut off":          {func(l []string) []string { return l[:20] }, "missing_end@20"},
		"the end cut in a record":  {func(l []string) []string { l = l[:20]; l[19] = l[19][:50]; return l }, "missing_end@19"},
		"only the header is left":  {func(l []string) []string { return l[:1] }, "unauthenticated@0 missing_end@1"},
		"nothing is left":          {func(l []string) []string { return nil }, "malformed@0"},
		"rewritten, chain and all": {func(l []string) []string { l[6] = strings.Replace(l[6], "user-4", "user-5", 1); return rechain(l) }, "forged@13 forged@24 forged@27 other_head@27"},
		"removed, chain and all":   {func(l []string) []string { return rechain(slices.Delete(l, 6, 7)) }, "wrong_count@12 forged@12 forged@23 forged@26 missing_end@26"},
		"no checkpoints, chain and all": {func(l []string) []string {
			return rechain(slices.DeleteFunc(l, func(s string) bool { return strings.Contains(s, typeCheckpoint) }))
		}, "unauthenticated@0 missing_end@23"},
		"rewritten after a checkpoint": {func(l []string) []string {
			l[15] = strings.Replace(l[15], "user-12", "user-13", 1)
			return rechain(l[:20])
		}, "missing_end@20"},
		"a checkpoint's count changed": {func(l []string) []string {
			l[12] = strings.Replace(l[12], `"events":10`, `"events":11`, 1)
			return rechain(l)
		}, "wrong_count@13 forged@13 forged@24 forged@27 other_head@27"},
		"a checkpoint of another key": {func(l []string) []string {
			l[26] = strings.Replace(l[26], testKey.ID().String(), vault.KeyID{9}.String(), 1)
			return l
		}, "unknown_key@27 other_head@27"},
		"another log's records":    {func(l []string) []string { return append(l[:13], strange[13:]...) }, "changed@13 forged@24 forged@27 other_head@27"},
		"another log in its place": {func(l []string) []string { return strange }, "another_log@0"},
		"another log behind it":    {func(l []string) []string { return append(l, strange...) }, "malformed@28 another_log@28"},
		"something behind it":      {func(l []string) []string { return append(l, "{}\n") }, "malformed@28"},
		"a very long line":         {func(l []string) []string { l[6] = strings.Repeat("x", 300_000) + "\n"; return l }, "malformed@7"},
		"a member twice": {func(l []string) []string {
			l[6] = strings.Replace(l[6], `,"reason"`, `,"actor":"eve","reason"`, 1)
			return l
		}, "malformed@7"},
		"a member in capitals": {func(l []string) []string {
			l[6] = strings.Replace(l[6], `,"reason"`, `,"Actor":"eve","reason"`, 1)
			return l
		}, "malformed@7"},
	} {
		t.Run(name, func(t *testing.T) {
			opts := withKey()
			opts.Head = k.head(id)
			r := verifyText(t, strings.Join(c.edit(slices.Clone(lines)), ""), opts)
			if got := found(r.Findings); got != c.want {
				t.Errorf("found %q, want %q", got, c.want)
				for _, f := range r.Findings {
					t.Log(f)
				}
			}
			if r.OK() != (c.want == "") {
				t.Errorf("OK is %v", r.OK())
			}
		})
	}
}

// Any one bit of any byte, and any byte more or less, is found. The very last lines are
// covered by the head.
func TestEachBitIsFound(t *testing.T) {
	k := newKeeper()
	_, lines, id := whole(t, k, 2, Options{})
	text := strings.Join(lines, "")
	opts := withKey()
	opts.Head = k.head(id)
	if r := verifyText(t, text, opts); !r.OK() {
		t.Fatal(r.Findings)
	}
	for i := range len(text) {
		for _, changed := range []string{
			text[:i] + string(rune(text[i]^1)) + text[i+1:], text[:i] + string(rune(text[i]^0x20)) + text[i+1:],
			text[:i] + text[i+1:], text[:i] + "0" + text[i:],
		} {
			if r := verifyText(t, changed, opts); r.OK() {
				t.Fatalf("byte %d of %d, %q: nothing is found", i, len(text), text[max(0, i-20):min(len(text), i+20)])
			}
		}
	}
}

// More records without a checkpoint than a log with a key can have are a finding: they
// could be anybody's.
func TestTooManyWithoutACheckpoint(t *testing.T) {
	s := state{log: vault.ID{1}, part: 1}
	b := s.appendHeader(nil, event(0).Time)
	b = s.appendCheckpoint(b, event(0).Time, testKey)
	members := appendEvent(nil, event(0))
	for range MaxUnchecked {
		b = s.appendEventLine(b, members, false)
	}
	if r := verifyText(t, string(b), withKey()); !r.OK() || r.After != MaxUnchecked {
		t.Errorf("%v", r.Findings)
	}
	b = s.appendEventLine(b, members, false)
	b = s.appendEventLine(b, members, false)
	if r := verifyText(t, string(b), withKey()); found(r.Findings) != fmt.Sprintf("unauthenticated@%d", MaxUnchecked+3) {
		t.Errorf("%v", r.Findings)
	}
}

// Records that were cut off, chain and checkpoint and all, while the log was closed are
// missed when it is opened again, and for ever after.
func TestCutOffWhileClosed(t *testing.T) {
	k := newKeeper()
	for _, before := range []int{0, 40} { // events between Open and Start
		path, lines, id := whole(t, k, 21, Options{Every: 10})
		writeLines(t, path, lines[:13])
		l := open(t, path, Options{Every: 10})
		write(t, l, 0, before)
		if err := l.Start(t.Context(), k); !errors.Is(err, ErrHead) {
			t.Fatalf("Start: %v", err)
		}
		write(t, l, 0, 3)
		start(t, l, k) // it was said once
		closeLog(t, l)
		opts := withKey()
		opts.Head = k.head(id)
		r := verify(t, opts, path)
		if len(r.Findings) != 1 || r.Findings[0].Kind != Missing || r.Findings[0].Seq != 14 || r.Findings[0].Last != 27 {
			t.Errorf("after %d events: %v", before, r.Findings)
		}
		if !r.Closed || r.After != 0 || !r.HeadCompared {
			t.Errorf("%+v", r)
		}
		l = open(t, path, Options{}) // its chain is whole
		start(t, l, k)
		closeLog(t, l)
	}
}

// The same for a log that was rewritten, chain and all, and is as long as it was.
func TestRewrittenWhileClosed(t *testing.T) {
	k := newKeeper()
	path, lines, _ := whole(t, k, 21, Options{Every: 10})
	lines[6] = strings.Replace(lines[6], "user-4", "user-5", 1)
	writeLines(t, path, rechain(lines))
	l := open(t, path, Options{})
	if err := l.Start(t.Context(), k); !errors.Is(err, ErrHead) {
		t.Fatalf("Start: %v", err)
	}
	closeLog(t, l)
	r := verify(t, withKey(), path)
	if got := found(r.Findings); got != "forged@13 forged@24 forged@27 other_head@29" {
		t.Error(got)
	}
}

// An older copy of the whole log, put back.
func TestOlderCopyPutBack(t *testing.T) {
	k := newKeeper()
	path, lines, _ := whole(t, k, 5, Options{})
	l := open(t, path, Options{})
	start(t, l, k)
	write(t, l, 5, 9)
	closeLog(t, l)
	writeLines(t, path, lines)
	l = open(t, path, Options{})
	if err := l.Start(t.Context(), k); !errors.Is(err, ErrHead) {
		t.Fatalf("Start: %v", err)
	}
	closeLog(t, l)
}

// Findings are bounded, and the rest is counted.
func TestFindingsAreBounded(t *testing.T) {
	text := strings.Repeat("garbage\n", 500)
	r := verifyText(t, text, VerifyOptions{MaxFindings: 7})
	if len(r.Findings) != 7 || r.Omitted != 494 || r.OK() {
		t.Errorf("%d findings, %d omitted", len(r.Findings), r.Omitted)
	}
}

// However a log is shuffled, cut and doubled: something is found, nothing panics.
func TestShuffled(t *testing.T) {
	k := newKeeper()
	_, lines, id := whole(t, k, 21, Options{Every: 10})
	opts := withKey()
	opts.Head = k.head(id)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for range 300 {
		changed := slices.Clone(lines)
		for range 1 + rng.IntN(4) {
			i, j := rng.IntN(len(changed)), rng.IntN(len(changed))
			switch rng.IntN(4) {
			case 0:
				changed[i], changed[j] = changed[j], changed[i]
			case 1:
				changed = slices.Delete(changed, i, i+1)
			case 2:
				changed = slices.Insert(changed, i, changed[j])
			case 3:
				changed[i] = strings.Replace(changed[i], "user", "User", 1)
			}
		}
		r := verifyText(t, strings.Join(changed, ""), opts)
		if r.OK() != slices.Equal(changed, lines) {
			t.Fatalf("OK is %v", r.OK())
		}
	}
}

func FuzzVerify(f *testing.F) {
	path := filepath.Join(f.TempDir(), "audit.log")
	l := open(f, path, Options{Every: 3})
	if err := l.Start(f.Context(), newKeeper()); err != nil {
		f.Fatal(err)
	}
	write(f, l, 0, 5)
	closeLog(f, l)
	b, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("{}\n"))
	f.Add([]byte(`{"seq":18446744073709551615,"prev":"` + strings.Repeat("0", 64) + `","type":"note","time":"2026-11-25T10:00:00.000000Z","note":"cut","first":1,"last":18446744073709551615}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := string(b)
		opts := withKey()
		opts.Head = &vault.AuditHead{Log: l.ID(), Seq: 3}
		r := verifyText(t, s, opts)
		verifyText(t, s, VerifyOptions{Tail: true, MaxFindings: 1})
		if r.OK() {
			t.Error("it has another head, and nothing is found")
		}
		for r, err := range Read([]Source{{"log", strings.NewReader(s)}}, Filter{}) {
			if err == nil && r.Event == "" {
				t.Error("a record without an event")
			}
		}
	})
}
