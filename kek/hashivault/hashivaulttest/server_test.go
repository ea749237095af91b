package hashivaulttest_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/embedvault/vault/kek/hashivault/hashivaulttest"
)

// The answers themselves are compared with the real server's in integration/.
// Here: what only our server has.
func TestFaults(t *testing.T) {
	srv := hashivaulttest.New(t)
	srv.CreateKey("root", hashivaulttest.KeyOptions{})
	client := srv.Client(srv.RootToken())
	read := func() error {
		_, err := client.Logical().ReadWithContext(t.Context(), "transit/keys/root")
		return err
	}
	failed := func(n int) (count int) {
		for range n {
			if read() != nil {
				count++
			}
		}
		return count
	}
	if n := failed(3); n != 0 {
		t.Errorf("%d calls failed for no reason", n)
	}
	srv.FailNext(2, hashivaulttest.InternalError)
	if n := failed(5); n != 2 {
		t.Errorf("%d calls failed, want 2", n)
	}
	srv.Throttle(50)
	if n := failed(200); n < 50 || n > 150 {
		t.Errorf("%d calls of 200 were throttled, want about 100", n)
	}
	srv.Throttle(0)
	srv.SetLatency(30 * time.Millisecond)
	if started := time.Now(); read() != nil || time.Since(started) < 30*time.Millisecond {
		t.Error("no latency")
	}
	srv.SetLatency(0)
	srv.ResetLog()
	srv.Fail(hashivaulttest.Hang)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for srv.Calls("keys") == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	if _, err := client.Logical().ReadWithContext(ctx, "transit/keys/root"); err == nil {
		t.Error("an answer, while it hangs")
	}
	srv.Fail(hashivaulttest.None)
	if err := read(); err != nil {
		t.Error(err)
	}
	log := srv.Log()
	if len(log) != 2 || log[0].Status != 0 || log[1].Status != 200 || log[1].Path != "transit/keys/root" || srv.Calls("keys") != 2 {
		t.Errorf("the log is %+v", log)
	}
}

// What an older server ignores, it warns of: in the request itself, and not in the
// items of a batch.
func TestOlderServersWarn(t *testing.T) {
	srv := hashivaulttest.New(t)
	srv.CreateKey("root", hashivaulttest.KeyOptions{})
	client := srv.Client(srv.RootToken())
	for version, want := range map[hashivaulttest.Version]string{
		hashivaulttest.V1_11: "[associated_data partial_failure_response_code]",
		hashivaulttest.V1_12: "[associated_data]",
		hashivaulttest.V1_13: "",
	} {
		srv.Imitate(version)
		item := map[string]any{"plaintext": "YWJj", "associated_data": "YWI="}
		batch := map[string]any{"batch_input": []any{item}}
		for _, request := range []map[string]any{batch, {"plaintext": "YWJj", "associated_data": "YWI=", "partial_failure_response_code": 200}} {
			secret, err := client.Logical().WriteWithContext(t.Context(), "transit/encrypt/root", request)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if len(secret.Warnings) > 0 {
				_, got, _ = strings.Cut(secret.Warnings[0], ": ")
			}
			if _, isBatch := request["batch_input"]; isBatch && got != "" || !isBatch && got != want {
				t.Errorf("version %d: it warns of %q", version, got)
			}
		}
	}
}

// Close lets go of calls that hang, and may be called twice.
func TestClose(t *testing.T) {
	srv := hashivaulttest.NewServer()
	srv.Fail(hashivaulttest.Hang)
	done := make(chan error, 1)
	go func() {
		_, err := srv.Client(srv.RootToken()).Logical().Read("transit/keys/root")
		done <- err
	}()
	for srv.Calls("") == 0 {
		time.Sleep(time.Millisecond)
	}
	srv.Close()
	srv.Close()
	if <-done == nil {
		t.Error("an answer, although it is closed")
	}
}

func TestMistakesPanic(t *testing.T) {
	srv := hashivaulttest.New(t)
	srv.CreateKey("root", hashivaulttest.KeyOptions{})
	for name, o := range map[string]hashivaulttest.KeyOptions{
		"root": {}, "a": {Mount: "none"}, "b": {Type: "none"}, "c": {Namespace: "none"},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			srv.CreateKey(name, o)
		}()
	}
}
