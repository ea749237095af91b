package main

import (
	"context"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/azurekv"
)

type azureFlags struct {
	signingKey    string
	verifyingKeys string
	unsigned      bool
	hostSuffix    string
}

func (f *azureFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.signingKey, "azure-signing-key", "", "`ID` with version of the key that signs wrappings of RSA keys: https://VAULT/keys/NAME/VERSION")
	flags.StringVar(&f.verifyingKeys, "azure-verifying-keys", "", "`FILE` with the public keys, in PEM, whose signatures are taken")
	flags.BoolVar(&f.unsigned, "azure-insecure-unsigned", false, "take and make RSA wrappings without a signature; whoever has the public key can forge them")
	flags.StringVar(&f.hostSuffix, "azure-host-suffix", "", "DNS `suffix` of vaults in a cloud that is not one of Azure's public ones")
}

// azureKEK opens azure-kv://VAULT/keys/NAME.
func (a *app) azureKEK(uri string) (func(context.Context) (kek.Wrapper, error), error) {
	id := strings.TrimPrefix(uri, "azure-kv://")
	host, rest, ok := strings.Cut(id, "/")
	if !ok || host == "" || !strings.HasPrefix(rest, "keys/") {
		return nil, usage("the KEK %q is not azure-kv://VAULT/keys/NAME", uri)
	}
	f := a.flags.azure
	return func(ctx context.Context) (kek.Wrapper, error) {
		o := azurekv.Options{SigningKey: f.signingKey, InsecureUnsigned: f.unsigned, HostSuffix: f.hostSuffix}
		if f.verifyingKeys != "" {
			pem, err := os.ReadFile(f.verifyingKeys)
			if err != nil {
				return nil, err
			}
			if o.VerifyingKeys, err = azurekv.ParseVerifyingKeys(pem); err != nil {
				return nil, err
			}
		}
		client, err := a.clouds.azure(host)
		if err != nil {
			return nil, err
		}
		if signer := strings.TrimPrefix(f.signingKey, "https://"); signer != "" {
			signerHost, _, _ := strings.Cut(signer, "/")
			if o.SigningClient, err = a.clouds.azure(signerHost); err != nil {
				return nil, err
			}
		}
		return azurekv.New(ctx, client, "https://"+id, o)
	}, nil
}
