package gcpkms_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/gcpkms"
	"github.com/embedvault/vault/kek/gcpkms/gcpkmstest"
	"github.com/embedvault/vault/keyctx"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestURI(t *testing.T) {
	srv := gcpkmstest.New(t)
	longest := fmt.Sprintf("projects/%s.%s:a%s/locations/a%s/keyRings/%s/cryptoKeys/%s", strings.Repeat("d", 63), strings.Repeat("e", 63),
		strings.Repeat("p", 29), strings.Repeat("l", 62), strings.Repeat("R", 63), strings.Repeat("k", 63))
	for _, name := range []string{
		longDomain(502 - len("projects/")),
		keyName,
		"projects/abcdef/locations/us/keyRings/_/cryptoKeys/-",
		"projects/my-project-123/locations/global/keyRings/0/cryptoKeys/A_b-9",
		"projects/example.com:my-project/locations/nam4/keyRings/r/cryptoKeys/k",
		longest,
	} {
		k, err := gcpkms.New(t.Context(), srv.Client(), srv.CreateKey(name).Name(), gcpkms.Options{})
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		if got := k.URI(); got != "gcp-kms://"+name || !keyctx.ValidURI(got) {
			t.Errorf("the URI of %q is %q", name, got)
		}
	}
}

// longDomain returns a key's name of so many bytes behind "projects/".
func longDomain(n int) string {
	label := strings.Repeat("d", 63)
	tail := ":a" + strings.Repeat("p", 29) + "/locations/l" + strings.Repeat("l", 62) + "/keyRings/" + strings.Repeat("R", 63) + "/cryptoKeys/" + strings.Repeat("k", 63)
	head := strings.Join([]string{label, label, label, label, label}, ".")
	return "projects/" + head[:n-len(tail)] + tail
}

// Names are matched, never cleaned, and nothing is asked about others.
func TestKeyNameAttacks(t *testing.T) {
	srv := gcpkmstest.New(t)
	project, rest, _ := strings.Cut(strings.TrimPrefix(keyName, "projects/"), "/")
	with := func(old, new string) string { return strings.Replace(keyName, old, new, 1) }
	for _, name := range []string{
		"", "my-key", "alias/my-key", "gcp-kms://" + keyName, "gcp-kms:/" + keyName, "/" + keyName, keyName + "/", keyName + "\n", "\n" + keyName, keyName + " ", keyName + "\x00",
		keyName + "/cryptoKeyVersions/1", keyName + "/cryptoKeyVersions/", keyName + "/../other", keyName + "/.", keyName + "//",
		with("my-key", ".."), with("my-key", "."), with("my-key", "a/../my-key"), with("my-ring", ".."), with("/keyRings", "//keyRings"),
		with("my-key", "my%2fkey"), with("my-key", "my%2Fkey"), with("my-key", "my%252fkey"), with("my-key", "my\\key"), with("/cryptoKeys/", "%2FcryptoKeys%2F"),
		with("my-key", "my.key"), with("my-key", "my key"), with("my-key", "my-key?x=1"), with("my-key", "my-key#1"), with("my-key", "my-key:decrypt"), with("my-key", "mÿ-key"), with("my-key", "m\u202ey"),
		with("projects/", "Projects/"), with("keyRings", "keyrings"), with("cryptoKeys", "cryptokeys"), with("locations", "Locations"),
		with("us-central1", "US-central1"), with("us-central1", "us_central1"), with("us-central1", "us.central1"), with("us-central1", "-"), with("us-central1", "u"), with("us-central1", "*"),
		with(project, "My-project"), with(project, "my_project"), with(project, "123456789012"), with(project, "1my-project"), with(project, "my-project-"), with(project, "short"), with(project, strings.Repeat("a", 31)), with(project, "-"),
		with(project, "user@host:my-project"), with(project, "user:pw@evil.com"), with(project, "com:my-project"), with(project, "..:my-project"), with(project, "a..b:my-project"), with(project, ":my-project"), with(project, "evil.com/x:my-project"), with(project, "evil.com.:my-project"),
		with("my-key", strings.Repeat("k", 64)), with("my-ring", strings.Repeat("r", 64)), with("my-key", ""), with("my-ring", ""), with(project, ""), with("us-central1", ""),
		"//cloudkms.googleapis.com/" + keyName, "https://cloudkms.googleapis.com/v1/" + keyName, "organizations/" + project + "/" + rest, "projects/" + project, strings.Repeat("a", 1<<20),
		longDomain(503 - len("projects/")), longDomain(319 + 244 - 1), // a URI of 513 bytes, and the longest that the alphabets allow
	} {
		for _, skip := range []bool{false, true} {
			_, err := gcpkms.New(t.Context(), srv.Client(), name, gcpkms.Options{SkipLookup: skip})
			if !errors.Is(err, gcpkms.ErrOptions) || len(err.Error()) > 2000 {
				t.Errorf("%.200q: error %.300v", name, err)
			}
		}
	}
	if n := srv.Count(""); n != 0 {
		t.Errorf("%d calls were made", n)
	}
	if _, err := gcpkms.New(t.Context(), nil, keyName, gcpkms.Options{}); !errors.Is(err, gcpkms.ErrOptions) {
		t.Errorf("without a client: %v", err)
	}
}

func TestNew(t *testing.T) {
	srv := gcpkmstest.New(t)
	key := srv.CreateKey(keyName)
	sign := srv.CreateKeyWith(ring+"sign", gcpkmstest.KeyOptions{Purpose: 5}) // ASYMMETRIC_SIGN
	none := must(srv.ClientAs("nobody"))(t)
	for _, c := range []struct {
		name  string
		key   string
		do    func() (undo func())
		as    string
		opts  gcpkms.Options
		class error // nil: New returns a KEK
	}{
		{name: "good", key: keyName},
		{name: "unknown", key: ring + "unknown", class: kek.ErrDenied},
		{name: "unknown, not looked up", key: ring + "unknown", opts: gcpkms.Options{SkipLookup: true}},
		{name: "another purpose", key: sign.Name(), class: kek.ErrDenied},
		{name: "may not see it", key: keyName, as: "nobody"},
		{name: "may not see it, and it may not exist", key: ring + "unknown", as: "nobody"},
		{name: "disabled now", key: keyName, do: func() func() { key.Disable(); return key.Enable }},
		{name: "throttled", key: keyName, do: func() func() { srv.Throttle(100); return func() { srv.Throttle(0) } }, class: kek.ErrUnavailable},
		{name: "expired credentials", key: keyName, do: func() func() { return srv.ExpireCredentials(gcpkmstest.Owner) }, class: kek.ErrUnavailable},
		{name: "API disabled", key: keyName, do: func() func() { return srv.Fail("", gcpkmstest.ServiceDisabled()) }, class: kek.ErrDenied},
		{name: "outside the perimeter", key: keyName, do: func() func() { return srv.Fail("", gcpkmstest.PerimeterDenied()) }, class: kek.ErrDenied},
		{name: "may not see it, in another domain", key: keyName, do: func() func() { return srv.Fail("", iamDenied(t)) }},
		{name: "answer about another key", key: keyName, do: func() func() { return srv.Tamper(gcpkmstest.Named(ring + "other")) }, class: kek.ErrCorrupt},
		{name: "an empty answer", key: keyName, do: func() func() { return srv.Tamper(gcpkmstest.Empty) }, class: kek.ErrCorrupt},
		{name: "garbage", key: keyName, do: func() func() { return srv.Tamper(gcpkmstest.Garbage) }, class: kek.ErrUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.do != nil {
				defer c.do()()
			}
			client := srv.Client()
			if c.as != "" {
				client = none
			}
			k, err := gcpkms.New(t.Context(), client, c.key, c.opts)
			wantClass(t, err, c.class)
			if (k == nil) != (c.class != nil) {
				t.Errorf("got %v, error %v", k, err)
			}
		})
	}
	if got := srv.Calls()[0]; got.Method != "GetCryptoKey" || got.Resource != keyName || got.Code != codes.OK.String() {
		t.Errorf("the first call was %+v", got)
	}
}

// iamDenied is IAM's refusal in the domain of what stands before every API.
func iamDenied(t testing.TB) error {
	return must(status.New(codes.PermissionDenied, "no").WithDetails(
		&errdetails.ErrorInfo{Reason: "IAM_PERMISSION_DENIED", Domain: "googleapis.com"}))(t).Err()
}

func TestFormat(t *testing.T) {
	f := newFixture(t)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, printed := range []any{f.kek, *f.kek} {
			if got := fmt.Sprintf(verb, printed); got != f.kek.URI() {
				t.Errorf("%s of a %T prints %q", verb, printed, got)
			}
		}
	}
	if got := fmt.Sprintf("%+v", struct{ K *gcpkms.KEK }{f.kek}); got != "{K:"+f.kek.URI()+"}" {
		t.Errorf("inside a struct it prints %q", got)
	}
	if got := fmt.Sprint((*gcpkms.KEK)(nil)); got != "<nil>" {
		t.Errorf("a nil KEK prints %q", got)
	}
}
