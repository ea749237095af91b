// Command observability shows what an operator sees of a vault: two customers with a
// KEK each, one whose KMS goes down and comes back, one who revokes their key. It
// reads its own numbers over HTTP, in Prometheus' text form, and prints what moved.
//
//	go run ./examples/observability                 # the story, in a few seconds
//	go run ./examples/observability -serve :9464    # the story, and then traffic until it is interrupted
//
// The KEKs are in memory and are told to fail; with those of a KMS nothing else
// differs. What the numbers are called is in docs/OBSERVABILITY.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"
)

func main() {
	serve := flag.String("serve", "", "keep serving /metrics here, such as localhost:9464")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, *serve, ttl); err != nil {
		fmt.Fprintln(os.Stderr, "observability:", err)
		os.Exit(1)
	}
}

// ttl is how long an unwrapped key is cached: short, so that an outage is felt within
// seconds. Leave yours at 15 minutes.
const ttl = 2 * time.Second

// run plays the story against its own HTTP server, and with serve goes on until ctx
// ends.
func run(ctx context.Context, out io.Writer, serve string, ttl time.Duration) error {
	f, err := newFleet(ttl)
	if err != nil {
		return err
	}
	defer f.close()
	addr := serve
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", f.metrics)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	defer server.Close()
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	url := "http://" + listener.Addr().String() + "/metrics"
	fmt.Fprintf(out, "metrics at %s\n", url)

	if err := f.story(ctx, out, func() (string, error) { return get(ctx, url) }); err != nil || serve == "" {
		return err
	}
	fmt.Fprintf(out, "\nserving %s until it is interrupted\n", url)
	return f.traffic(ctx, failed)
}

// get reads a page.
func get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return string(body), err
}
