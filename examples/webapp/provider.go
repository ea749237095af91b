package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// provider is the third party's HTTP API. Its address is configuration, never a
// request's: an API key goes to no other place.
type provider struct {
	url    string
	client *http.Client
}

func newProvider(url string) *provider {
	return &provider{strings.TrimSuffix(url, "/"), &http.Client{
		Timeout: 20 * time.Second,
		// A redirect is not followed: the key would go with it.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// charge asks for a payment and returns what became of it: paid, declined, or
// unknown with an error. Nothing of a refusal's text is repeated: providers are
// known to quote the key.
func (p *provider) charge(ctx context.Context, key secret, pay payment) (status, reference string, err error) {
	body, err := json.Marshal(map[string]any{"account": pay.Account, "amount": pay.Amount, "currency": pay.Currency})
	if err != nil {
		return "unknown", "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/charges", bytes.NewReader(body))
	if err != nil {
		return "unknown", "", err
	}
	req.Header.Set("Authorization", "Bearer "+string(key))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", pay.ID)
	res, err := p.client.Do(req)
	if err != nil {
		return "unknown", "", err
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode == http.StatusCreated:
		reference, err := readReference(res.Body)
		return "paid", reference, err
	case res.StatusCode >= 400 && res.StatusCode < 500:
		return "declined", "", fmt.Errorf("it answered %d", res.StatusCode)
	}
	return "unknown", "", fmt.Errorf("it answered %d", res.StatusCode)
}

// readReference reads the provider's name for a payment.
func readReference(body io.Reader) (string, error) {
	var answer struct {
		ID string `json:"id"`
	}
	if err := json.NewDecoder(io.LimitReader(body, 64<<10)).Decode(&answer); err != nil {
		return "", fmt.Errorf("its answer can't be read")
	}
	if !paymentID.MatchString(answer.ID) {
		return "", fmt.Errorf("its reference is not one")
	}
	return answer.ID, nil
}
