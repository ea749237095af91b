package gcpkms_test

import (
	"testing"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/gcpkms"
	"github.com/embedvault/vault/kek/gcpkms/gcpkmstest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

func TestCheck(t *testing.T) {
	o := gcpkmstest.Owner
	for _, c := range []struct {
		name  string
		do    func(fixture)
		want  kek.Status
		class error
	}{
		{"good", func(fixture) {}, kek.Status{Usable: true, PrimaryVersion: "1"}, nil},
		{"rotated", func(f fixture) { f.key.Rotate() }, kek.Status{Usable: true, PrimaryVersion: "2"}, nil},
		{"disabled", func(f fixture) { f.key.Disable() }, kek.Status{Reason: "DISABLED", PrimaryVersion: "1"}, nil},
		{"scheduled", func(f fixture) { f.key.ScheduleDestruction() }, kek.Status{Reason: "DESTROY_SCHEDULED", PrimaryVersion: "1"}, nil},
		{"destroyed", func(f fixture) { f.key.Destroy() }, kek.Status{Reason: "DESTROYED", PrimaryVersion: "1"}, nil},
		{"deleted", func(f fixture) { f.key.Delete() }, kek.Status{Reason: "NOT_FOUND"}, nil},
		{"an old version disabled", func(f fixture) { f.key.Rotate(); f.key.SetState(1, kmspb.CryptoKeyVersion_DISABLED) },
			kek.Status{Usable: true, PrimaryVersion: "2"}, nil},

		// Seeing a key and using it are two permissions.
		{"may not see", func(f fixture) { f.key.Revoke(o, gcpkmstest.PermissionGet) }, kek.Status{Usable: true, PrimaryVersion: "1"}, nil},
		{"may see only", func(f fixture) { f.key.Revoke(o, gcpkmstest.RoleEncrypterDecrypter) }, kek.Status{Reason: "IAM_PERMISSION_DENIED", PrimaryVersion: "1"}, nil},
		{"may encrypt only", func(f fixture) { f.key.Revoke(o, gcpkmstest.RoleDecrypter) }, kek.Status{Reason: "IAM_PERMISSION_DENIED", PrimaryVersion: "1"}, nil},
		{"may do nothing", func(f fixture) { f.key.Revoke(o) }, kek.Status{Reason: "IAM_PERMISSION_DENIED"}, nil},
		{"may not see a disabled one", func(f fixture) { f.key.Revoke(o, gcpkmstest.PermissionGet); f.key.Disable() }, kek.Status{Reason: "KEY_DISABLED"}, nil},
		{"API off", func(f fixture) { f.srv.Fail("", gcpkmstest.ServiceDisabled()) }, kek.Status{Reason: "SERVICE_DISABLED"}, nil},
		{"external key revoked", func(f fixture) { f.srv.Fail("Encrypt", gcpkmstest.External(keyName, "EXTERNAL_PERMISSION_DENIED")) },
			kek.Status{Reason: "EXTERNAL_PERMISSION_DENIED", PrimaryVersion: "1"}, nil},

		{"throttled", func(f fixture) { f.srv.Throttle(100) }, kek.Status{}, kek.ErrUnavailable},
		{"down after the lookup", func(f fixture) { f.srv.Fail("Decrypt", status.Error(codes.Unavailable, "x")) }, kek.Status{}, kek.ErrUnavailable},
		{"expired credentials", func(f fixture) { f.srv.ExpireCredentials(o) }, kek.Status{}, kek.ErrUnavailable},
		{"another key's answer", func(f fixture) { f.srv.Tamper(gcpkmstest.Named(ring + "other")) }, kek.Status{}, kek.ErrCorrupt},
		{"another key's primary version", func(f fixture) { f.srv.Tamper(foreignPrimary) }, kek.Status{}, kek.ErrCorrupt},
		{"decrypts to something else", func(f fixture) { f.srv.Tamper(gcpkmstest.Resized(10)) }, kek.Status{}, kek.ErrCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			c.do(f)
			got, err := f.kek.Check(t.Context())
			wantClass(t, err, c.class)
			if got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func foreignPrimary(_ string, _, resp proto.Message) (any, error) {
	if r, ok := resp.(*kmspb.CryptoKey); ok {
		r.Primary.Name = ring + "other/cryptoKeyVersions/1"
	}
	return resp, nil
}

// Keys that were something else from the start.
func TestCheckOtherKeys(t *testing.T) {
	srv := gcpkmstest.New(t)
	for _, c := range []struct {
		name string
		o    gcpkmstest.KeyOptions
		want kek.Status
	}{
		{"rotates", gcpkmstest.KeyOptions{RotationPeriod: 90 * 24 * time.Hour}, kek.Status{Usable: true, PrimaryVersion: "1", Rotates: true}},
		{"imported", gcpkmstest.KeyOptions{NoVersion: true}, kek.Status{Reason: "no primary version"}},
		{"sign", gcpkmstest.KeyOptions{Purpose: kmspb.CryptoKey_ASYMMETRIC_SIGN}, kek.Status{Reason: "ASYMMETRIC_SIGN"}},
	} {
		key := srv.CreateKeyWith(ring+c.name, c.o)
		k := must(gcpkms.New(t.Context(), srv.Client(), key.Name(), gcpkms.Options{SkipLookup: true}))(t)
		got, err := k.Check(t.Context())
		if err != nil || got != c.want {
			t.Errorf("%s: got %+v, error %v; want %+v", c.name, got, err, c.want)
		}
		if !c.want.Usable {
			_, err := k.Wrap(t.Context(), secret(), bindingOf(t))
			wantClass(t, err, kek.ErrDenied)
		}
	}
}
