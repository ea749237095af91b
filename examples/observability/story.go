package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
)

// requests is how many secrets each customer has encrypted in each part of the story;
// each is decrypted again.
const requests = 50

// part is a part of the story.
type part struct {
	title string
	begin func()        // what happens
	pause time.Duration // until it is felt
}

// story plays each part and prints what moved in the numbers meanwhile.
func (f *fleet) story(ctx context.Context, out io.Writer, scrape func() (string, error)) error {
	felt := 2 * f.ttl // a key's time is over, and so is the pause after a try that failed
	parts := []part{
		{"before: both KMSs answer", func() {}, 0},
		{"acme's KMS is down: its keys serve beyond their time", func() { f.keks["acme"].SetFault(memkek.Unavailable) }, felt},
		{"acme's KMS is back", func() { f.keks["acme"].SetFault(memkek.None) }, felt},
		{"globex revokes its key: nothing serves", func() { f.keks["globex"].SetFault(memkek.Denied) }, felt},
	}
	before := numbers{}
	for _, p := range parts {
		p.begin()
		if err := sleep(ctx, p.pause); err != nil {
			return err
		}
		told, err := f.work(ctx)
		if err != nil {
			return err
		}
		text, err := scrape()
		if err != nil {
			return err
		}
		after, err := parse(text)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "\n== %s\n%s\n", p.title, told)
		after.since(before).print(out)
		before = after
	}
	return nil
}

// work is some traffic of both customers, and says what they saw of it.
func (f *fleet) work(ctx context.Context) (told string, err error) {
	var saw []string
	for _, customer := range []vault.KeyContext{acme, globex} {
		done, denied := 0, 0
		for range requests {
			switch err := f.request(ctx, customer); {
			case err == nil:
				done++
			case errors.Is(err, vault.ErrKEKDenied):
				denied++
			default:
				return "", err
			}
		}
		saw = append(saw, fmt.Sprintf("%s: %d requests served, %d denied", customer["organization_id"], done, denied))
	}
	return strings.Join(saw, "; "), nil
}

// request encrypts a secret of a customer's and decrypts it again.
func (f *fleet) request(ctx context.Context, customer vault.KeyContext) error {
	sealed, err := f.vault.Encrypt(ctx, customer, []byte("sk_live_4eC39HqLyjWDarjtT1zdp7dc"), nil)
	if err != nil {
		return err
	}
	_, err = f.vault.Decrypt(ctx, customer, sealed, nil)
	return err
}

// traffic goes on until ctx ends, or serving has failed. globex stays denied.
func (f *fleet) traffic(ctx context.Context, failed <-chan error) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case <-tick.C:
			if _, err := f.work(ctx); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
