package awskmstest

import (
	"context"
	"crypto/rand"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Principal is somebody with credentials: a role or a user.
type Principal struct {
	server *Server
	arn    string

	// Guarded by the server's mutex.
	accessKeyID, secret, token string
	expired, deleted           bool
}

// Principal returns the principal with this ARN, such as
// "arn:aws:iam::444455556666:role/reader", and makes it if need be. It may use
// the keys of its own account, and those of others that allow it.
func (s *Server) Principal(arn string) *Principal {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.principals {
		if p.arn == arn {
			return p
		}
	}
	p := &Principal{server: s, arn: arn}
	p.issue()
	return p
}

// issue gives p new temporary credentials. The access key IDs of such begin with
// ASIA: IAM User Guide, "IAM identifiers".
func (p *Principal) issue() {
	p.accessKeyID, p.secret, p.token = "ASIA"+rand.Text()[:16], rand.Text(), rand.Text()
	p.server.principals[p.accessKeyID] = p
}

// ARN returns the principal's ARN.
func (p *Principal) ARN() string { return p.arn }

func (p *Principal) account() string {
	if parts := strings.Split(p.arn, ":"); len(parts) > 4 {
		return parts[4]
	}
	return ""
}

// Credentials returns the principal's credentials as they are at each call.
func (p *Principal) Credentials() aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		p.server.mu.Lock()
		defer p.server.mu.Unlock()
		return aws.Credentials{AccessKeyID: p.accessKeyID, SecretAccessKey: p.secret, SessionToken: p.token, Source: "awskmstest"}, nil
	})
}

// ExpireCredentials makes KMS answer that the credentials have expired, until
// RenewCredentials.
func (p *Principal) ExpireCredentials() { p.set(func() { p.expired = true }) }

// RenewCredentials gives the principal new credentials, as its provider would.
func (p *Principal) RenewCredentials() { p.set(func() { p.expired = false; p.issue() }) }

// DeleteCredentials makes KMS know nothing of the principal's access keys.
func (p *Principal) DeleteCredentials() { p.set(func() { p.deleted = true }) }

func (p *Principal) set(change func()) {
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	change()
}
