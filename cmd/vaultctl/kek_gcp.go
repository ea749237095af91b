package main

import (
	"context"
	"strings"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/gcpkms"
)

// gcpKEK opens gcp-kms:// and the name of a key.
func (a *app) gcpKEK(uri string) (func(context.Context) (kek.Wrapper, error), error) {
	name := strings.TrimPrefix(uri, "gcp-kms://")
	if !strings.HasPrefix(name, "projects/") {
		return nil, usage("the KEK %q is not gcp-kms:// and the name of a key, projects/…", uri)
	}
	return func(ctx context.Context) (kek.Wrapper, error) {
		client, err := a.clouds.gcp(ctx)
		if err != nil {
			return nil, err
		}
		return gcpkms.New(ctx, client, name, gcpkms.Options{})
	}, nil
}
