package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/awskms"
	"github.com/embedvault/vault/kek/awskms/awskmstest"
	"github.com/embedvault/vault/kek/hashivault"
	"github.com/embedvault/vault/kek/hashivault/hashivaulttest"
)

// clouds are the customers' systems. The servers are ours, for tests; everything
// that talks to them is the providers' own SDK.
type clouds struct {
	aws   *awskmstest.Server
	vault *hashivaulttest.Server

	acmeKey    *awskmstest.Key
	globexKey  *hashivaulttest.Key
	vaultToken string
}

// What the customers' administrators made and told us of.
const (
	acmeAlias    = "alias/embedvault"
	globexKey    = "embedvault"
	vaultURIHost = "vault.globex.example"
)

func startClouds() (*clouds, error) {
	aws, err := awskmstest.NewServer()
	if err != nil {
		return nil, err
	}
	c := &clouds{aws: aws, vault: hashivaulttest.NewServer()}

	// Acme's administrator makes a key, and allows our role to use it.
	c.acmeKey = aws.CreateKey(awskmstest.KeyOptions{Account: "444455556666"})
	c.acmeKey.SetAlias(acmeAlias)
	c.acmeKey.Allow(aws.Principal(awskmstest.DefaultPrincipal), "kms:DescribeKey", "kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo")

	// Globex's administrator makes a transit key, and a token that can use it.
	c.globexKey = c.vault.CreateKey(globexKey, hashivaulttest.KeyOptions{Derived: true})
	c.vault.SetPolicy("embedvault", hashivaulttest.KeyPolicy("transit", globexKey))
	c.vaultToken = c.vault.CreateToken(0, "embedvault")
	return c, nil
}

func (c *clouds) close() {
	c.aws.Close()
	c.vault.Close()
}

// openAcme and openGlobex are what opens a customer's key for real, too.
func (c *clouds) openAcme(ctx context.Context) (kek.Wrapper, error) {
	client := c.aws.Client(awskmstest.DefaultRegion) // kms.NewFromConfig(cfg)
	return awskms.New(ctx, client, c.acmeKey.ARN(), awskms.Options{})
}

func (c *clouds) openGlobex(ctx context.Context) (kek.Wrapper, error) {
	client := c.vault.Client(c.vaultToken) // api.NewClient(config)
	return hashivault.New(ctx, client, globexKey, hashivault.Options{Host: vaultURIHost})
}

// open opens a KEK by the URI that is in the table: after a restart, say.
func (c *clouds) open(ctx context.Context, uri string) (kek.Wrapper, error) {
	switch {
	case strings.HasPrefix(uri, "aws-kms://"):
		return c.openAcme(ctx)
	case strings.HasPrefix(uri, "hashivault://"):
		return c.openGlobex(ctx)
	}
	return nil, fmt.Errorf("no driver for %s", uri)
}
