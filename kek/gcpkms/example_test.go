package gcpkms_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	kms "cloud.google.com/go/kms/apiv1"
	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/gcpkms"
	"github.com/embedvault/vault/kek/gcpkms/gcpkmstest"
	"github.com/embedvault/vault/storage/memstore"
	"github.com/googleapis/gax-go/v2"
)

// A vault on a key of Google Cloud KMS. docs/providers/google-cloud-kms.md shows
// the same.
func Example_production() {
	ctx := context.Background()
	client, err := kms.NewKeyManagementClient(ctx) // Application Default Credentials
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	// The vault repeats calls itself. The SDK would, too, for up to a minute.
	once := []gax.CallOption{gax.WithTimeout(5 * time.Second)}
	client.CallOptions.Encrypt, client.CallOptions.Decrypt, client.CallOptions.GetCryptoKey = once, once, once

	root, err := gcpkms.New(ctx, client,
		"projects/my-project/locations/europe-west1/keyRings/vault/cryptoKeys/root", gcpkms.Options{})
	if err != nil {
		log.Fatal(err)
	}
	v, err := vault.New(vault.Config{KEK: root, Store: memstore.New()})
	if err != nil {
		log.Fatal(err)
	}
	defer v.Close()
	if err := v.Check(ctx); err != nil {
		log.Fatal(err)
	}
}

// In tests, the same code talks to a server of gcpkmstest.
func ExampleNew() {
	srv, err := gcpkmstest.NewServer()
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	key := srv.CreateKey("projects/my-project/locations/global/keyRings/vault/cryptoKeys/root")

	ctx := context.Background()
	root, err := gcpkms.New(ctx, srv.Client(), key.Name(), gcpkms.Options{})
	if err != nil {
		log.Fatal(err)
	}
	v, err := vault.New(vault.Config{KEK: root, Store: memstore.New()})
	if err != nil {
		log.Fatal(err)
	}
	defer v.Close()

	org := vault.KeyContext{"organization_id": "org_01"}
	sealed, err := v.Encrypt(ctx, org, []byte("secret"), nil)
	if err != nil {
		log.Fatal(err)
	}
	plain, err := v.Decrypt(ctx, org, sealed, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(root.URI())
	fmt.Println(string(plain))

	key.Disable()
	_, err = v.Encrypt(ctx, vault.KeyContext{"organization_id": "org_02"}, []byte("secret"), nil)
	fmt.Println("denied:", errors.Is(err, vault.ErrKEKDenied))
	// Output:
	// gcp-kms://projects/my-project/locations/global/keyRings/vault/cryptoKeys/root
	// secret
	// denied: true
}

func ExampleKEK_Check() {
	srv, err := gcpkmstest.NewServer()
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	key := srv.CreateKeyWith("projects/my-project/locations/global/keyRings/vault/cryptoKeys/root",
		gcpkmstest.KeyOptions{RotationPeriod: 90 * 24 * time.Hour})

	ctx := context.Background()
	root, err := gcpkms.New(ctx, srv.Client(), key.Name(), gcpkms.Options{})
	if err != nil {
		log.Fatal(err)
	}
	status, err := root.Check(ctx)
	fmt.Printf("%+v %v\n", status, err)
	key.Rotate()
	key.ScheduleDestruction()
	status, err = root.Check(ctx)
	fmt.Printf("%+v %v\n", status, err)
	// Output:
	// {Usable:true Reason: PrimaryVersion:1 Rotates:true} <nil>
	// {Usable:false Reason:DESTROY_SCHEDULED PrimaryVersion:2 Rotates:true} <nil>
}

// After a rotation, what was wrapped under the old version is wrapped anew. No
// data is touched.
func ExampleKEK_Rewrap() {
	srv, err := gcpkmstest.NewServer()
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	key := srv.CreateKey("projects/my-project/locations/global/keyRings/vault/cryptoKeys/root")

	ctx := context.Background()
	root, err := gcpkms.New(ctx, srv.Client(), key.Name(), gcpkms.Options{})
	if err != nil {
		log.Fatal(err)
	}
	contextKey, binding := bytes.Repeat([]byte{7}, 32), kek.Binding{Purpose: 1, Version: 1}
	wrapped, err := root.Wrap(ctx, contextKey, binding)
	if err != nil {
		log.Fatal(err)
	}
	key.Rotate()
	rewrapped, err := root.Rewrap(ctx, wrapped, binding)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(root.WrappedVersion(wrapped), "to", root.WrappedVersion(rewrapped))
	// Output: 1 to 2
}
