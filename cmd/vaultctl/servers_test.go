package main

import (
	"context"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/embedvault/vault/kek/awskms/awskmstest"
	"github.com/embedvault/vault/kek/hashivault/hashivaulttest"
)

// hashivaultCmd is a HashiCorp Vault for a script:
//
//	hashivault start KEY    starts it, sets VAULT_ADDR, VAULT_TOKEN and KEK
//	hashivault key KEY      makes one more key and sets KEK2
//	hashivault rotate KEY   · revoke · restore
func hashivaultCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("hashivault: what?")
	}
	if args[0] == "start" {
		srv := hashivaulttest.NewServer()
		ts.Defer(srv.Close)
		ts.Setenv("VAULT_ADDR", srv.URL())
		hashivaults.store(ts, srv)
		ts.Setenv("KEK", newTransitKey(srv, args[1]))
		ts.Setenv("VAULT_TOKEN", srv.CreateToken(0, "operator"))
		return
	}
	srv := hashivaults.load(ts)
	switch args[0] {
	case "key":
		ts.Setenv("KEK2", newTransitKey(srv, args[1]))
	case "rotate":
		srv.Key(args[1]).Rotate()
	case "revoke":
		srv.SetPolicy("operator", nil)
	case "restore":
		srv.SetPolicy("operator", hashivaulttest.Policy{"transit/*": {"read", "update"}})
	default:
		ts.Fatalf("hashivault %s?", args[0])
	}
}

// newTransitKey makes a key and returns its URI.
func newTransitKey(srv *hashivaulttest.Server, name string) string {
	srv.CreateKey(name, hashivaulttest.KeyOptions{Derived: true})
	srv.SetPolicy("operator", hashivaulttest.Policy{"transit/*": {"read", "update"}})
	return "hashivault://" + strings.TrimPrefix(srv.URL(), "http://") + "/transit/keys/" + name
}

// awskmsCmd is an AWS KMS for a script:
//
//	awskms start            starts it, sets AWS_… and KEK
//	awskms disable · enable
func awskmsCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("awskms: what?")
	}
	switch args[0] {
	case "start":
		srv, err := awskmstest.NewServer()
		ts.Check(err)
		ts.Defer(srv.Close)
		key := srv.CreateKey(awskmstest.KeyOptions{})
		awsKeys.store(ts, key)
		ts.Setenv("KEK", "aws-kms://"+key.ARN())
		for name, value := range awsEnv(ts, srv) {
			ts.Setenv(name, value)
		}
	case "disable":
		awsKeys.load(ts).Disable()
	case "enable":
		awsKeys.load(ts).Enable()
	default:
		ts.Fatalf("awskms %s?", args[0])
	}
}

// awsEnv is what AWS's own SDK reads from the environment.
func awsEnv(ts *testscript.TestScript, srv *awskmstest.Server) map[string]string {
	endpoint := srv.Client(awskmstest.DefaultRegion).Options().BaseEndpoint
	c, err := srv.Principal(awskmstest.DefaultPrincipal).Credentials().Retrieve(context.Background())
	ts.Check(err)
	return map[string]string{
		"AWS_ENDPOINT_URL_KMS": *endpoint, "AWS_ACCESS_KEY_ID": c.AccessKeyID, "AWS_SECRET_ACCESS_KEY": c.SecretAccessKey,
		"AWS_SESSION_TOKEN": c.SessionToken, "AWS_EC2_METADATA_DISABLED": "true",
	}
}

var (
	hashivaults perScript[*hashivaulttest.Server]
	awsKeys     perScript[*awskmstest.Key]
)
